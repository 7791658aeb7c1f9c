"""Disk space back from a run: weights and artifacts that nobody will ask for again, and never an unpromoted winner's.

Ledger, commits, logs, loss curves and bundles stay: any number can be measured again from them.
"""

from collections.abc import Iterator
from pathlib import Path

from data.state import State
from experiments.bench import measured_in
from experiments.ledger import Ledger

LARGE = ("weights.bin", "artifact.bin")


def disposable(folder: Path, ledger: Ledger) -> Iterator[Path]:
    """Large files of trials that lost, of incumbents measured beside others, and of winners that were promoted."""
    promoted = {number for number, name, _ in ledger.promotions() if "non_record" not in name}
    winners = [row for row in ledger.rows() if row.state in (State.KEPT, State.BASELINE) and row.number not in promoted]
    wanted = {
        measured_in(folder, row.number, one)
        for row in winners
        for one in ledger.taken(row.number)
        if one.fresh_for in (None, row.number)
    }
    for row in ledger.rows():  # what is being measured stands elsewhere until it has ended
        for path in sorted((folder / f"{row.number:04d}").glob("*/*")) if row.state.finished else ():
            if path.name in LARGE and not path.is_symlink() and path.parent not in wanted:
                yield path

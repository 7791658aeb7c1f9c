"""Disk space back from a run: weights and artifacts that nobody will ask for again, and never an unpromoted winner's.

Ledger, commits, logs, loss curves and bundles stay: any number can be measured again from them.
"""

from collections.abc import Iterator
from pathlib import Path

from experiments.ledger import Ledger
from experiments.state import State

LARGE = ("weights.bin", "artifact.bin")
INCUMBENT = "_incumbent"  # measured again beside a trial: only its numbers count


def disposable(folder: Path, ledger: Ledger) -> Iterator[Path]:
    """Large files of trials that lost, of incumbents measured beside others, and of winners that were promoted."""
    promoted = {number for number, _, _ in ledger.promotions()}
    for row in ledger.rows():
        winner = row.state in (State.KEPT, State.BASELINE) and row.number not in promoted
        for path in sorted((folder / f"{row.number:04d}").glob("*/*")) if row.state.finished else ():
            beside = path.parent.name.endswith(INCUMBENT)
            if path.name in LARGE and not path.is_symlink() and (beside or not winner):
                yield path

"""Disk space back from a run: weights and artifacts that nobody will ask for again, and never an unpromoted winner's.

Ledger, commits, logs, loss curves and bundles stay: any number can be measured again from them.
"""

from collections.abc import Iterator
from pathlib import Path

from experiments.ledger import Ledger
from experiments.state import State

LARGE = ("weights.bin", "artifact.bin")
LATER = ("record_", "rerun_")  # tiers that measure a trial that has ended, perhaps at this moment
INCUMBENT = "_incumbent"  # measured again beside a trial: only its numbers count


def disposable(folder: Path, ledger: Ledger) -> Iterator[Path]:
    """Large files of trials that lost, of incumbents measured beside others, and of winners that were promoted."""
    promoted = {number for number, name, _ in ledger.promotions() if "non_record" not in name}
    for row in ledger.rows():
        winner = row.state in (State.KEPT, State.BASELINE) and row.number not in promoted
        done = {f"{one.tier}_{one.measured.seed}" for one in ledger.taken(row.number)}
        for path in sorted((folder / f"{row.number:04d}").glob("*/*")) if row.state.finished else ():
            where = path.parent.name
            under_way = where.startswith(LATER) and where not in done
            loser = where.endswith(INCUMBENT) or not winner
            if path.name in LARGE and not path.is_symlink() and loser and not under_way:
                yield path

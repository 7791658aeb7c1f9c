"""Garbage collection of a run's disk space: checkpoints, weights and artifacts that are no longer needed.

Files of a winner that has not been promoted stay, and so do ledger, commits, logs, loss curves and bundles: every
number can be measured again from those.
"""

from collections.abc import Iterator
from pathlib import Path

from experiments.ledger.store import Ledger
from experiments.run.layout import measurement_folder
from experiments.runner.job import CHECKPOINT

LARGE_FILES = ("weights.bin", "artifact.bin", CHECKPOINT)
CHECKPOINT_TRIALS = 10  # `challenge` leaves 265 MB, seventeen artifacts: a night's would fill a disk


def expired_checkpoints(folder: Path, ledger: Ledger, number: int) -> Iterator[Path]:
    """Yield what the trial ten before `number` left: its checkpoints, unless it is kept, and its incumbent's."""
    old = number - CHECKPOINT_TRIALS
    is_kept = any(row.number == old and row.state.is_kept for row in ledger.rows())
    needed = {measurement_folder(folder, old, taken) for taken in ledger.measurement_rows(old)} if is_kept else set()
    for path in sorted((folder / f"{old:04d}").glob(f"*/{CHECKPOINT}")):
        if path.parent not in needed:
            yield path


def disposable(folder: Path, ledger: Ledger) -> Iterator[Path]:
    """Yield large files of lost trials, of remeasured incumbents, and of winners that have been promoted."""
    promoted = {number for number, name, _ in ledger.promotions() if "non_record" not in name}
    winners = [row for row in ledger.rows() if row.state.is_kept and row.number not in promoted]
    needed = {
        measurement_folder(folder, row.number, measurement)
        for row in winners
        for measurement in ledger.measurement_rows(row.number)
        if measurement.fresh_for in (None, row.number)
    }
    for row in ledger.rows():  # a measurement that is running is in another folder until it ends
        for path in sorted((folder / f"{row.number:04d}").glob("*/*")) if row.state.finished else ():
            if path.name in LARGE_FILES and not path.is_symlink() and path.parent not in needed:
                yield path

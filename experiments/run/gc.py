"""Garbage collection of a run's disk space: weights and artifacts that are no longer needed.

Files of a winner that has not been promoted stay, and so do ledger, commits, logs, loss curves and bundles: every
number can be measured again from those.
"""

from collections.abc import Iterator
from pathlib import Path

from experiments.ledger.store import Ledger
from experiments.run.layout import measurement_folder

LARGE_FILES = ("weights.bin", "artifact.bin", "checkpoint.bin")


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

"""Garbage collection of a run's disk space: checkpoints, weights and artifacts that are no longer needed.

Files of a winner that has not been promoted stay, and so do ledger, commits, logs, loss curves and bundles: every
number can be measured again from those.
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from common.errors import LedgerError
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.run.layout import measurement_folder
from experiments.runner.job import CHECKPOINT

LARGE_FILES = ("weights.bin", "artifact.bin", CHECKPOINT)
CHECKPOINT_TRIALS = 10  # `challenge` has 36 M fp32 weights and 30 M numbers of Hessians, 265 MB: a night's fill a disk
CHECKPOINT_CAPS = 17  # in artifacts of 16 MB


def delete_expired_checkpoints(folder: Path, ledger: Ledger, number: int) -> None:
    """When trial `number` begins, delete the checkpoints of the trial ten before, unless it is kept.

    Those of its incumbent's fresh seeds, which are below it, go in any case.
    """
    old = number - CHECKPOINT_TRIALS
    with contextlib.suppress(LedgerError):  # numbers start at 0 and may have gaps
        needed = _own_folders(folder, ledger, [row for row in [ledger.row(old)] if row.state.is_kept])
        for path in (folder / f"{old:04d}").glob(f"*/{CHECKPOINT}"):
            if path.parent not in needed:
                path.unlink(missing_ok=True)


def disposable(folder: Path, ledger: Ledger) -> Iterator[Path]:
    """Yield large files of lost trials, of remeasured incumbents, and of winners that have been promoted."""
    promoted = {number for number, name, _ in ledger.promotions() if "non_record" not in name}
    winners = [row for row in ledger.rows() if row.state.is_kept and row.number not in promoted]
    needed = _own_folders(folder, ledger, winners)
    for row in ledger.rows():  # a measurement that is running is in another folder until it ends
        for path in sorted((folder / f"{row.number:04d}").glob("*/*")) if row.state.finished else ():
            if path.name in LARGE_FILES and not path.is_symlink() and path.parent not in needed:
                yield path


def _own_folders(folder: Path, ledger: Ledger, rows: Iterable[Row]) -> set[Path]:
    """Return the folders of the measurements of these trials that were not taken for another one."""
    return {
        measurement_folder(folder, row.number, measurement)
        for row in rows
        for measurement in ledger.measurement_rows(row.number)
        if measurement.fresh_for in (None, row.number)
    }

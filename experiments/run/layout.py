"""Paths of a run on disk: its ledger, its trials, and the measurements of each trial."""

from pathlib import Path

from common.errors import CaddieError
from experiments.ledger.rows import MeasurementRow
from experiments.ledger.store import Ledger
from experiments.repo.run_name import checked_name

WORK = "work"  # below the run: measurements that are running
PROPOSER_FOLDER = "proposer"  # below the run: what generate_next.py may leave behind


def measurement_folder(run_folder: Path, number: int, measurement: MeasurementRow) -> Path:
    """Return the folder of a measurement of trial `number`.

    It is below the trial that asked for the measurement, whose folder is cleared if that trial is lost. The name is
    random because the program can read it; in older ledgers it was the tier and the seed.
    """
    asked_by = number if measurement.fresh_for is None else measurement.fresh_for
    suffix = "" if asked_by == number else "_incumbent"
    old_name = f"{measurement.tier}_{measurement.measured.seed}{suffix}"
    return run_folder / f"{asked_by:04d}" / (measurement.folder or old_name)


def ledger_path(root: Path, run: str) -> Path:
    """Return the path of a run's ledger, which need not exist."""
    return root.resolve() / "trials" / checked_name(run) / "ledger.sqlite"


def open_ledger(root: Path, run: str) -> Ledger:
    """Open a run's ledger; raises CaddieError if there is no such run."""
    path = ledger_path(root, run)
    if not path.exists():
        raise CaddieError(f"no run {run!r} at {path.parent}; ./loop.sh --run {run} starts one")
    return Ledger(path)

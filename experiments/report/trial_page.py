"""Values of a trial's page: its curves, seeds, budgets, bytes, difference and log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers.diff import DiffLexer

from common.errors import CaddieError
from common.text import one_line
from experiments.analysis import artifact
from experiments.analysis.pairing import WEIGHTS, pairs
from experiments.analysis.status import rerun_command
from experiments.ledger import usage
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.report import trial_charts
from experiments.report.summary import LABELS, RunSummary
from experiments.run.layout import measurement_folder
from experiments.runner.curves import Curve, read_curve

LOG_LINES, LOG_BYTES = 12, 1 << 16


def values(summary: RunSummary, ledger: Ledger, i: int, diff: str, has_curve: bool) -> dict[str, Any]:
    """Return what the template of a trial's page shows, for the i-th trial of the run with its change."""
    trial, tier = summary.trials[i], summary.profile.tier
    row = trial.row
    parent = ledger.with_commit(row.parent)
    parent = parent if parent and parent.number != row.number else None
    measurements = ledger.measurement_rows(row.number)
    search, fresh = (pairs(ledger, row, tier.name, fresh) for fresh in (False, True))
    first = next((measurement for measurement in measurements if measurement.tier == tier.name), None)
    folder = measurement_folder(summary.folder, row.number, first) if first else None
    return {
        "trial": trial,
        "row": row,
        "parent": parent,
        "before": summary.trials[i - 1] if i else None,
        "after": summary.trials[i + 1] if i + 1 < len(summary.trials) else None,
        "on_weights": any(measurement.tier == WEIGHTS for measurement in measurements),
        "children": on_weights_of(ledger, row),
        "measurements": measurements,
        "budgets": usage.used_shares(row),
        "seeds": trial_charts.seeds(search, fresh, trial.noise_bpb) if search else None,
        "first": first.measured if first else None,
        "overlay": ", ".join(str(each.number) for each in (row, parent) if each),
        "has_curve": has_curve,
        "tensors": _tensors(folder),
        "diff": _highlighted(diff),
        "labels": LABELS,
        "stages": ledger.stages(row.number),
        "rescores": ledger.rescores(row.number),
        "ablations": ledger.ablations(row.number),
        "remarks": ledger.remarks(row.number),
        "log": _tail(folder / "train.log") if folder else [],
        "rerun": rerun_command(summary.run, row.number, first.measured.seed) if first else "",
        "assets": "../assets",
    }


def on_weights_of(ledger: Ledger, row: Row) -> list[Row]:
    """Return the trials that were measured on the saved weights of a trial, which was their incumbent."""
    if not row.commit_id:
        return []
    written = [each for each in ledger.rows() if each.parent == row.commit_id and each.number != row.number]
    return [each for each in written if any(stored.tier == WEIGHTS for stored in ledger.measurement_rows(each.number))]


def curves(summary: RunSummary, ledger: Ledger, row: Row) -> Iterator[tuple[int, Curve]]:
    """Yield (seed, loss curve) of each full measurement of a trial that has one, in the order of measurement."""
    for measurement in ledger.measurement_rows(row.number):
        if measurement.tier == summary.profile.tier.name:
            folder = measurement_folder(summary.folder, row.number, measurement)
            if points := read_curve(folder / "metrics.jsonl"):
                yield measurement.measured.seed, points


def _highlighted(diff: str) -> Markup | str:
    safe = "\n".join(one_line(line, 500) for line in diff.splitlines())
    return Markup(highlight(safe, DiffLexer(), HtmlFormatter(cssclass="diff"))) if safe else ""


def _tensors(folder: Path | None) -> list[artifact.Tensor]:
    """Return the tensors of a measurement's artifact; none if its files are gone or in a format of their own."""
    try:
        return artifact.read(folder / "artifact.bin", folder / "weights.bin") if folder else []
    except CaddieError:
        return []


def _tail(path: Path) -> list[str]:
    """Return the last lines of a program's log, safe to show."""
    if not path.is_file() or path.is_symlink():
        return []
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - LOG_BYTES))
        lines = file.read().decode("utf-8", "backslashreplace").splitlines()
    return [one_line(line, 300) for line in lines[-LOG_LINES:]]

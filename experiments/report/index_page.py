"""Values of a run's index page: its result, charts, failures, budgets, and the table of trials."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from common.state import State
from common.text import one_line
from experiments.analysis import gains, status
from experiments.analysis.now import limits, now
from experiments.ledger import usage
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.report import knobs, run_charts
from experiments.report.style import bars
from experiments.report.summary import RunSummary, Trial

REASONS = 12  # shown, the most frequent ones
OVERLAID = 3  # incumbents whose loss curves are shown at first


@dataclass(frozen=True)
class Failure:
    """Trials that ended in one way for one reason."""

    state: State
    reason: str
    trials: int
    last: Row


@dataclass(frozen=True)
class ByProposer:
    """What a proposer expected of its trials, and what was measured."""

    name: str
    trials: int
    kept: int
    expected_bpb: float
    measured_bpb: float


def values(summary: RunSummary, ledger: Ledger) -> dict[str, Any]:
    """Return what the template of the index shows."""
    tier, best = summary.profile.tier, status.latest_incumbent(summary.rows)
    longest = max(summary.hours.values(), default=0.0)
    unit, per_hour, spec = ("hours", 1.0, "{:.2f} h") if longest >= 1 else ("minutes", 60.0, "{:.1f} min")
    return {
        "best": best,
        "total": gains.total(ledger, tier),
        "gained": gains.total_sentence(ledger, tier),
        "gains": gains.gains(ledger, tier, summary.rows),
        "why": gains.WHY,
        "limits": limits(ledger, summary.profile),
        "overlay": _overlay(summary),
        "now": now(summary.run, ledger, summary.profile),
        "kept": sum(row.state is State.KEPT for row in summary.rows),
        "kept_by_person": sum(row.state is State.KEPT_BY_PERSON for row in summary.rows),
        "tried": sum(row.state.counts_as_trial for row in summary.rows if row.state.finished),
        "start": next((row for row in summary.rows if row.state is State.BASELINE), None),
        "sentence": status.summary_sentence(summary.rows),
        "progress": run_charts.progress(summary),
        "tree": run_charts.tree(summary) if len(summary.trials) > 1 else None,
        "fronts": [
            (title, figure)
            for title, cost, axis in (
                ("Bytes against bits per byte", "artifact_bytes", "bytes of the artifact"),
                ("Training time against bits per byte", "train_seconds", "seconds of training"),
                ("Scoring time against bits per byte", "score_seconds", "seconds of scoring"),
            )
            if (figure := run_charts.pareto(summary, cost, axis))
        ],
        "calibration": run_charts.calibration(summary),
        "proposers": by_proposer(summary.trials),
        "knobs": knobs.figures(summary),
        "failures": failures(summary.rows),
        "budgets": usage.used_shares(best) if best else [],
        "time": bars({name: hours * per_hour for name, hours in summary.hours.items()}, unit, spec),
        "states": sorted({trial.row.state for trial in summary.trials}),
        "kinds": sorted({trial.row.kind for trial in summary.trials}),
        "lessons": _lessons(summary.folder),
        "promotions": ledger.promotions(),
        "assets": "assets",
    }


def _overlay(summary: RunSummary) -> str:
    """Return the trials whose loss curves are shown at first: the baseline and the last incumbents."""
    kept = [str(row.number) for row in summary.rows if row.state.is_kept]
    return ", ".join(kept[:1] + kept[1:][-OVERLAID:])


def failures(rows: Iterable[Row]) -> list[Failure]:
    """Return the trials without a value by verdict and reason, numbers in the reason aside; most frequent first."""
    groups: dict[tuple[State, str], list[Row]] = {}
    for row in rows:
        if row.state.finished and not row.has_value and row.state is not State.DISCARDED:
            reason = usage.exceeded_limit(row) or row.detail
            groups.setdefault((row.state, re.sub(r"\d[\d.,_]*", "…", one_line(reason, 160))), []).append(row)
    found = [Failure(state, reason, len(group), group[-1]) for (state, reason), group in groups.items()]
    found.sort(key=lambda failure: -failure.trials)
    return found[:REASONS]


def by_proposer(trials: Iterable[Trial]) -> list[ByProposer]:
    """Return each proposer that made predictions with its mean expected and mean measured difference."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.row.has_value and trial.expected_bpb is not None and trial.row.delta_bpb is not None:
            groups.setdefault(trial.by or "unnamed", []).append(trial)
    return [
        ByProposer(
            name,
            len(group),
            sum(trial.row.state is State.KEPT for trial in group),
            fmean(trial.expected_bpb or 0.0 for trial in group),
            fmean(trial.row.delta_bpb or 0.0 for trial in group),
        )
        for name, group in sorted(groups.items())
    ]


def _lessons(folder: Path) -> list[str]:
    path = folder / "lessons.md"
    if not path.is_file():
        return []
    return [
        one_line(line[2:], 300) for line in path.read_text("utf-8", "replace").splitlines() if line.startswith("- ")
    ]

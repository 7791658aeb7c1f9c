"""What a run does at this moment, read from its ledger and from the loss curve that is being written."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from common.text import one_line
from experiments.costs.budget import machine_dollars
from experiments.costs.llm_calls import Calls, Outcome
from experiments.ledger.store import Ledger
from experiments.run.layout import WORK, measurement_folder
from experiments.run.progress import current
from experiments.run.session import Session
from experiments.runner.curves import Curve, read_curve
from experiments.tiers import Profile

CURVE = "metrics.jsonl"


@dataclass(frozen=True)
class Now:
    """A run at this moment; None and empty for what does not apply."""

    run: str
    profile: str
    order: str  # trial k of n, hours
    budget: str
    trial: int | None
    title: str
    stage: str
    step: int | None
    steps: int | None
    loss: float | None
    reference_loss: float | None
    minutes_left: float | None
    proposer: str


def now(run: str, ledger: Ledger, profile: Profile) -> Now:
    """Return what the run does; `stage` is empty if no controller is at work."""
    folder, progress = ledger.path.parent, current(ledger)
    running = next((row for row in ledger.rows() if progress and row.number == progress.trial), None)
    curve = _running_curve(folder) if progress else ()
    reference = _reference_loss(ledger, folder, profile, curve[-1].step) if curve else None
    measuring = progress if progress and "seed" in progress.stage else None
    used = [words for words, _ in limits(ledger, profile)]
    left = max(profile.tier.expected_minutes - measuring.minutes, 0.0) if measuring else None
    return Now(
        run=run,
        profile=one_line(ledger.fact("profile") or "", 40),
        order=", ".join(used[:2]),
        budget="".join(used[2:]),
        trial=progress.trial if progress else None,
        title=one_line(progress.title, 60) if progress else "",
        stage=one_line(progress.stage, 60) if progress else "",
        step=curve[-1].step if curve else None,
        steps=(running.steps if running and running.steps else profile.tier.steps) if curve else None,
        loss=curve[-1].loss if curve else None,
        reference_loss=reference,
        minutes_left=left,
        proposer=_proposer(ledger),
    )


def _options(ledger: Ledger) -> dict[str, object]:
    options: dict[str, object] = json.loads(ledger.fact("options") or "{}")
    return options


def _number(value: object, default: float) -> float:
    """Return a number of the ledger, which a mirror may have filled, or the default."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default


def limits(ledger: Ledger, profile: Profile) -> list[tuple[str, float | None]]:
    """Return what the session has used of what it may use, in words and as a share: `3 of 20 trials`, 0.15.

    The share is None where there is no limit.
    """
    session, options = Session.read(ledger), _options(ledger)
    trials, hours = _number(options.get("trials"), 3), _number(options.get("hours"), 12.0)
    done, worked = (session.settled(ledger), session.worked_seconds / 3600) if session else (0, 0.0)
    used: list[tuple[str, float | None]] = [
        (f"{done} of {trials} trials", done / (trials or 1)),
        (f"{worked:.1f} of {hours:g} hours", worked / (hours or 1)),
    ]
    limit, spent = options.get("budget-usd"), Calls(ledger).spent_dollars() + machine_dollars(ledger, profile)
    if limit is not None:
        used.append((f"${spent:.2f} of ${_number(limit, 0.0):.2f}", spent / (_number(limit, 0.0) or 1)))
    elif spent:
        used.append((f"${spent:.2f}, no limit", None))
    return used


def _running_curve(folder: Path) -> Curve:
    """Return the loss curve of the training that runs, if one does; a candidate writes it."""
    curves = (folder / WORK).glob(f"m_*/*/out/{CURVE}")
    newest = max(curves, key=lambda path: path.lstat().st_mtime, default=None)
    return read_curve(newest) if newest else ()


def _reference_loss(ledger: Ledger, folder: Path, profile: Profile, step: int) -> float | None:
    """Return the incumbent's mean training loss at a step, over its measurements that logged it."""
    if (incumbent := ledger.incumbent()) is None:
        return None
    losses = []
    for row in ledger.measurement_rows(incumbent.number):
        if row.tier == profile.tier.name:
            curve = read_curve(measurement_folder(folder, incumbent.number, row) / CURVE)
            losses += [point.loss for point in curve if point.step == step]
    return fmean(losses) if losses else None


def _proposer(ledger: Ledger) -> str:
    """Return what is under way at the proposer."""
    name = one_line(str(_options(ledger).get("proposer", "auto")), 40)
    asked = next((call for call in reversed(Calls(ledger).rows()) if call.state is Outcome.RESERVED), None)
    if asked is None:
        waiting = sum(not request.outcome for request in ledger.requests())
        return f"{name}" + (f"; {waiting} requests of yours wait" if waiting else "")
    return f"{name}, {asked.purpose} by {one_line(asked.model, 40)}"

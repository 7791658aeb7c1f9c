"""What a run's ledger tells, as plain values for pages: progress, lineage, classes, money and time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from data.state import State
from experiments.calls import Calls
from experiments.ledger import Ledger, Row
from experiments.outlook import LATER, main_stages, outlook
from experiments.proposal import by_of
from experiments.replicates import noise_by_trial
from experiments.spending import machine_dollars
from experiments.tiers import Profile

IDLE = "idle"  # stopped, or between trials
LABELS = {
    "measure": "training and scoring",
    "confirm": "fresh seeds of keeps",
    "preflight": "preflight",
    "pace": "cost of a step",
    "propose": "waiting for a proposal",
    "tree": "trees and names",
    "settle": "commits",
}


@dataclass(frozen=True)
class Trial:
    """One row, and what the pages say beside it."""

    row: Row
    by: str
    noise_bpb: float  # sd of a difference between equal trees, when it began
    minutes: float
    model_dollars: float
    paired_bpb: float | None  # the baseline's value plus the paired differences of every keep up to here, and its own

    @property
    def href(self) -> str:
        return f"trials/{self.row.number:04d}.html"


@dataclass(frozen=True)
class ClassLine:
    """What a class of ideas brought, and what it cost."""

    name: str
    tried: int
    kept: int
    gain_bpb: float
    hours: float
    dollars: float

    @property
    def gain_per_dollar(self) -> float | None:
        return self.gain_bpb / self.dollars if self.dollars else None

    @property
    def gain_per_hour(self) -> float | None:
        return self.gain_bpb / self.hours if self.hours else None


@dataclass(frozen=True)
class Generation:
    """An incumbent and what was tried against it."""

    row: Row
    tried: list[Row]


@dataclass
class Story:
    """A whole run."""

    run: str
    folder: Path
    profile: Profile
    trials: list[Trial]
    classes: list[ClassLine]
    generations: list[Generation]
    hours: dict[str, float] = field(default_factory=dict)  # by what they went into
    machine_dollars: float = 0.0
    model_dollars: float = 0.0
    outlook: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        return [trial.row for trial in self.trials]

    @property
    def idle_share(self) -> float:
        return self.hours.get(IDLE, 0.0) / (sum(self.hours.values()) or 1.0)


def tell(run: str, folder: Path, ledger: Ledger, profile: Profile) -> Story:
    trials = list(_trials(ledger, profile))
    story = Story(run, folder, profile, trials, _classes(trials, profile), _generations(trials))
    story.hours = _hours(ledger, story.rows)
    story.machine_dollars = machine_dollars(ledger, profile)
    story.model_dollars = Calls(ledger).spent_dollars()
    story.outlook = list(outlook(ledger, profile)) if trials else []
    return story


def _trials(ledger: Ledger, profile: Profile) -> Iterator[Trial]:
    """Every row with its incumbent's value; the paired line adds up differences, which luck of seeds leaves alone."""
    spent: dict[int, float] = {}
    for call in Calls(ledger).rows():
        spent[call.trial] = spent.get(call.trial, 0.0) + (call.booked_dollars or 0.0)
    paired = None
    for row, noise in noise_by_trial(ledger, profile.tier):
        here = None if paired is None or row.delta_bpb is None or not row.valued else paired + row.delta_bpb
        if row.state is State.BASELINE:
            here = row.val_bpb
        minutes = sum(main_stages(ledger, row.number).values()) / 60
        yield Trial(row, by_of(row.proposal), noise.difference_sd, minutes, spent.get(row.number, 0.0), here)
        if row.state in (State.BASELINE, State.KEPT):
            paired = here


def _classes(trials: list[Trial], profile: Profile) -> list[ClassLine]:
    lines = []
    for name in sorted({trial.row.kind for trial in trials} - {"baseline", "none"}):
        its = [trial for trial in trials if trial.row.kind == name]
        kept = [trial.row for trial in its if trial.row.state is State.KEPT]
        hours = sum(trial.minutes for trial in its) / 60
        dollars = hours * profile.dollars_per_hour + sum(trial.model_dollars for trial in its)
        lines.append(ClassLine(name, len(its), len(kept), -sum(row.delta_bpb or 0.0 for row in kept), hours, dollars))
    return sorted(lines, key=lambda line: -line.gain_bpb)


def _generations(trials: list[Trial]) -> list[Generation]:
    """Incumbents in order, each with the trials that were written against it."""
    rows = [trial.row for trial in trials if trial.row.state.finished]
    holders = [row for row in rows if row.state in (State.BASELINE, State.KEPT)]
    return [Generation(one, [row for row in rows if row.parent == one.commit_id and row is not one]) for one in holders]


def _hours(ledger: Ledger, rows: list[Row]) -> dict[str, float]:
    """Where the time went; between a trial and the next nothing ran, as far as the ledger knows."""
    hours: dict[str, float] = {}
    for row in rows:
        for stage, seconds in main_stages(ledger, row.number).items():
            name = LABELS.get(stage, stage)
            hours[name] = hours.get(name, 0.0) + seconds / 3600
    ended = [row for row in rows if row.settled_at]
    if ended:
        began = datetime.fromisoformat(rows[0].started_at)
        whole = (datetime.fromisoformat(str(ended[-1].settled_at)) - began).total_seconds() / 3600
        hours[IDLE] = max(0.0, whole - sum(hours.values()))
    later = [seconds for row in rows for name, seconds in ledger.stages(row.number).items() if name in LATER]
    if later:
        hours["promotion and reruns"] = sum(later) / 3600
    return hours

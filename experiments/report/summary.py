"""Summary of a run's ledger as plain values for the report: progress, lineage, classes, cost and time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from common.limits import MOST_EXPECTED_BPB
from common.state import State
from experiments.analysis.pairing import noise_by_trial
from experiments.analysis.status import LATER_STAGES, main_stages, status_lines
from experiments.costs.budget import machine_dollars
from experiments.costs.llm_calls import Calls
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.proposal.parts import MERGE, PERSON, SEARCH, by_of
from experiments.tiers import Profile

NO_PREDICTION = (SEARCH, MERGE, PERSON, "command", "")  # they store 0.0 where no prediction was made
IDLE = "idle"  # stopped, or between trials
LABELS = {
    "measure": "training and scoring",
    "confirm": "fresh seeds",
    "preflight": "preflight",
    "pace": "measuring the cost of a step",
    "propose": "waiting for a proposal",
    "tree": "applying the diff",
    "settle": "commits",
}


@dataclass(frozen=True)
class Trial:
    """A ledger row, and the values that the pages show with it."""

    row: Row
    by: str
    noise_bpb: float  # sd of a difference between equal trees when the trial began
    minutes: float
    model_dollars: float
    paired_bpb: float | None  # the baseline's value plus the paired differences of all keeps so far and its own

    @property
    def expected_bpb(self) -> float | None:
        """The difference that the proposer expected; None if it made no prediction, or one that is no such number."""
        value = self.row.expected_delta_bpb
        if value is None or abs(value) > MOST_EXPECTED_BPB or (not value and self.by in NO_PREDICTION):
            return None
        return value

    @property
    def href(self) -> str:
        return f"trials/{self.row.number:04d}.html"


@dataclass(frozen=True)
class ClassSummary:
    """The gain (negative is better), by what the judge kept, and the cost of a class of ideas."""

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
    """An incumbent and the trials against it."""

    row: Row
    tried: list[Row]


@dataclass
class RunSummary:
    """A run as the report shows it."""

    run: str
    folder: Path
    profile: Profile
    trials: list[Trial]
    classes: list[ClassSummary]
    generations: list[Generation]
    hours: dict[str, float] = field(default_factory=dict)  # by activity
    machine_dollars: float = 0.0
    model_dollars: float = 0.0
    status_lines: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        return [trial.row for trial in self.trials]

    @property
    def idle_share(self) -> float:
        return self.hours.get(IDLE, 0.0) / (sum(self.hours.values()) or 1.0)


def summarize(run: str, folder: Path, ledger: Ledger, profile: Profile) -> RunSummary:
    """Return the summary of a run."""
    trials = list(_trials(ledger, profile))
    summary = RunSummary(run, folder, profile, trials, _classes(trials, profile), _generations(trials))
    summary.hours = _hours(ledger, summary.rows)
    summary.machine_dollars = machine_dollars(ledger, profile)
    summary.model_dollars = Calls(ledger).spent_dollars()
    summary.status_lines = list(status_lines(ledger, profile)) if trials else []
    return summary


def _trials(ledger: Ledger, profile: Profile) -> Iterator[Trial]:
    """Yield every row; `paired_bpb` adds up paired differences along the lineage, which no luck of seeds changes."""
    spent: dict[int, float] = {}
    for call in Calls(ledger).rows():
        spent[call.trial] = spent.get(call.trial, 0.0) + (call.committed_dollars or 0.0)
    by_commit: dict[str | None, float] = {}
    for row, noise in noise_by_trial(ledger, profile.tier):
        parent_bpb, paired_bpb = by_commit.get(row.parent), None
        if row.state is State.BASELINE:
            paired_bpb = row.val_bpb
        elif parent_bpb is not None and row.delta_bpb is not None and row.has_value:
            paired_bpb = parent_bpb + row.delta_bpb
        minutes = sum(main_stages(ledger, row.number).values()) / 60
        yield Trial(row, by_of(row.proposal), noise.difference_sd, minutes, spent.get(row.number, 0.0), paired_bpb)
        if paired_bpb is not None:
            by_commit[row.commit_id] = paired_bpb


def _classes(trials: list[Trial], profile: Profile) -> list[ClassSummary]:
    lines = []
    for name in sorted({trial.row.kind for trial in trials} - {"baseline", "none"}):
        members = [trial for trial in trials if trial.row.kind == name]
        kept = [trial.row for trial in members if trial.row.state is State.KEPT]
        hours = sum(trial.minutes for trial in members) / 60
        dollars = hours * profile.dollars_per_hour + sum(trial.model_dollars for trial in members)
        gain = sum(row.delta_bpb or 0.0 for row in kept)
        lines.append(ClassSummary(name, len(members), len(kept), gain, hours, dollars))
    return sorted(lines, key=lambda line: line.gain_bpb)


def _generations(trials: list[Trial]) -> list[Generation]:
    """Return everything that was an incumbent in order, each with the trials that were written against it."""
    rows = [trial.row for trial in trials if trial.row.state.finished]
    parents = {row.parent for row in rows}  # what is kept no longer is among them
    incumbents = [row for row in rows if row.state.is_kept or row.commit_id in parents]
    return [
        Generation(incumbent, [row for row in rows if row.parent == incumbent.commit_id and row is not incumbent])
        for incumbent in incumbents
    ]


def _hours(ledger: Ledger, rows: list[Row]) -> dict[str, float]:
    """Return hours by activity; the ledger records nothing between two trials, which counts as idle."""
    hours: dict[str, float] = {}
    for row in rows:
        for stage, seconds in main_stages(ledger, row.number).items():
            name = LABELS.get(stage, stage)
            hours[name] = hours.get(name, 0.0) + seconds / 3600
    ended = [row for row in rows if row.settled_at]
    if ended:
        began = datetime.fromisoformat(rows[0].started_at)
        whole = (datetime.fromisoformat(str(ended[-1].settled_at)) - began).total_seconds() / 3600
        later = sum(
            seconds for row in rows for name, seconds in ledger.stages(row.number).items() if name in LATER_STAGES
        )
        if later:
            hours["promotion and reruns"] = later / 3600
        hours[IDLE] = max(0.0, whole - sum(hours.values()))
    return hours

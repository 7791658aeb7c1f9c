"""The ledger's rows as plain values: one for each trial, and one for each measurement."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

from common.state import State
from experiments.ledger.measurement import Measurement

EARLIER_CLASSES = {"optimiser": "optimizer", "quantisation": "quantization"}  # in ledgers and proposals before 2026-12


def class_name(text: str) -> str:
    """Return the class of an idea as it is spelled today."""
    return EARLIER_CLASSES.get(text, text)


@dataclass(frozen=True)
class Row:
    """One trial in the ledger; numbers are None until they have been measured."""

    number: int
    state: State
    title: str
    kind: str
    hypothesis: str
    expected_delta_bpb: float | None
    proposal: str
    parent: str
    profile: str
    tier: str
    sandbox_level: str
    trials_can_read_text: bool
    tree: str | None
    commit_id: str | None
    knobs: str | None  # the resolved configuration as JSON, as the program itself describes it
    detail: str
    val_bpb: float | None
    delta_bpb: float | None
    artifact_bytes: int | None
    train_seconds: float | None
    score_seconds: float | None
    honesty_bpb: float | None
    rare_bpb: float | None
    lines_added: int | None
    lines_removed: int | None
    net_code_lines: int | None  # gained or lost, by syntax nodes and bytes of literals (preflight/source/syntax.py)
    started_at: str
    settled_at: str | None
    fingerprint: str | None  # of the tree, comments and layout aside (experiments/proposal/novelty.py)
    change: str | None  # the changed lines, each as a short hash: JSON
    steps: int | None  # of training, if granted by cost (experiments/trial/equal_compute.py); None = the tier's
    step_cost: float | None  # CPU seconds of a step relative to the baseline's
    spent: str | None  # [used, limit] of every finite budget, of the seed closest to the limit: JSON
    size: str | None  # the forecast of the artifact before training (preflight/candidate/size.py): JSON

    @property
    def has_value(self) -> bool:
        """True if the value counts; a trial that a limit ended may have a value that is only shown."""
        return self.val_bpb is not None and (
            self.state.judged or self.state.decided_by_person or self.state is State.BASELINE
        )


@dataclass(frozen=True)
class MeasurementRow:
    """One measurement and the reason it was taken."""

    measured: Measurement
    tier: str
    split: str
    fresh_for: int | None  # the trial whose provisional keep asked for a fresh seed; None = the search
    folder: str  # below the requesting trial's; empty in ledgers from before folder names were random


JSON_COLUMNS = frozenset({"proposal", "knobs", "change", "spent", "size", "measured", "differences"})


def nested(record: Mapping[str, object]) -> dict[str, object]:
    """Return a record of the ledger with the JSON of its columns as values; a proposal may be text of any kind."""

    def value(name: str, text: object) -> object:
        if name not in JSON_COLUMNS or not isinstance(text, str):
            return text
        try:
            return json.loads(text, parse_constant=str)  # NaN is no JSON: the text "NaN"
        except (ValueError, RecursionError):
            return text

    return {name: value(name, text) for name, text in record.items()}


COLUMNS = [column.name for column in fields(Row)]

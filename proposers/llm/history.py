"""A digest of the trials so far, of bounded size: as long after a thousand trials as after ten.

All text in rows came from an LLM or from a program that it wrote. It is cut, put on one line and quoted as JSON, so
that an instruction in a log reaches the model as a string in a field. Output of programs also loses long numbers,
which may be seeds.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import fmean, stdev
from typing import Any

from common.state import State
from common.text import one_line
from experiments.ledger.rows import Row
from experiments.proposal.novelty import describe_trial
from experiments.proposal.parts import idea_of
from proposers.allocation import CLASSES
from proposers.context import Context
from proposers.llm import lessons

LINEAGE, NEAR, RECENT, FAILURES, IDEAS = 10, 6, 12, 6, 40  # maximum number of rows of each kind
TITLE_CHARACTERS, WHY_CHARACTERS = 90, 160


@dataclass(frozen=True)
class Returns:
    """The results of a class of ideas."""

    kind: str
    tried: int
    kept: int
    measured: int
    mean_delta_bpb: float | None
    error_bpb: float | None  # standard error of the mean


def quoted(text: str, limit: int = TITLE_CHARACTERS) -> str:
    """Return untrusted text as a JSON string: bounded, on one line, and unable to close a tag."""
    line = one_line(text[: 4 * limit], limit)
    line = line.encode()[:limit].decode(errors="ignore")  # in other scripts, a letter may be several tokens
    return json.dumps(line, ensure_ascii=False).replace("<", "‹").replace(">", "›")


def digest(context: Context, room: float = 1.0) -> dict[str, Any]:
    """Return the values of digest.md.j2.

    Args:
        context: The run.
        room: Share of each list to keep; below 1 after the prompt was too long.
    """

    def newest(rows: Iterable[Row], limit: int) -> list[Row]:
        return list(rows)[-ceil(limit * room) :]

    rows = [row for row in context.rows if row.state is not State.BASELINE]
    rejected = [row for row in rows if row.state in (State.DISCARDED, State.REVERTED) and row.delta_bpb is not None]
    near = sorted((row for row in rejected if (row.delta_bpb or 0) < 0), key=lambda row: row.delta_bpb or 0)
    ended = [row for row in rows if row.state.finished and not (row.state.judged or row.state.decided_by_person)]
    failed = [row for row in ended if row.state.counts_as_attempt or row.state is State.UNJUDGED]
    return {
        "trials": len([row for row in rows if row.state.finished]),
        "incumbent": context.incumbent,
        "target": context.target,
        "steps": context.profile.tier.steps,
        "noise_bpb": context.noise.difference_sd,
        "detectable_bpb": context.profile.tier.rule.detectable(context.noise, context.seeds),
        "seeds": context.seeds,
        "lineage": newest((row for row in rows if row.state in (State.KEPT, State.KEPT_BY_PERSON)), LINEAGE),
        "near": near[: ceil(NEAR * room)],
        "returns": list(returns(rows)),
        "recent": newest((row for row in rows if row.state.judged or row.state.decided_by_person), RECENT),
        "failures": newest(failed, FAILURES),
        "in_flight": [row for row in rows if not row.state.finished],
        "ideas": list(ideas(rows).items())[-ceil(IDEAS * room) :],
        "lessons": lessons.load(context)[: ceil(lessons.LINES * room)],
        "why_characters": WHY_CHARACTERS,
    }


def returns(rows: list[Row]) -> Iterable[Returns]:
    """Yield each class with its numbers of trials and keeps, and its mean difference with the standard error."""
    for kind in CLASSES:
        of_class = [row for row in rows if row.kind == kind and row.state.finished and row.state.counts_as_attempt]
        deltas = [row.delta_bpb for row in of_class if row.state.judged and row.delta_bpb is not None]
        error = stdev(deltas) / sqrt(len(deltas)) if len(deltas) > 1 else None
        kept = sum(row.state is State.KEPT for row in of_class)
        yield Returns(kind, len(of_class), kept, len(deltas), fmean(deltas) if deltas else None, error)


def ideas(rows: list[Row]) -> dict[str, str]:
    """Return the tags of ideas.md that proposals used, each with its last outcomes."""
    by_tag: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if (tag := idea_of(row.proposal)) and row.state.counts_as_attempt:
            by_tag[tag].append(describe_trial(row))
    return {tag: "; ".join(outcomes[-2:]) for tag, outcomes in by_tag.items()}

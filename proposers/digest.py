"""What was tried, in a fixed number of words: the same size after ten trials and after a thousand.

All text of rows came from an LLM or from a program that it wrote. It is cut, put on one line and quoted as JSON, so
that an order in a log reaches the reader as a string in a field. What a program said also loses long numbers: seeds.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import fmean, stdev
from typing import Any

from data.state import State
from experiments.ledger import Row
from experiments.novelty import told as outcome
from experiments.proposal import idea_of
from preflight.text import one_line
from proposers import lessons
from proposers.choice import CLASSES
from proposers.context import Context

LINEAGE, NEAR, RECENT, FAILURES, IDEAS = 10, 6, 12, 6, 40  # rows of each kind at most
TITLE_CHARACTERS, WHY_CHARACTERS = 90, 160


@dataclass(frozen=True)
class Returns:
    """What a class of ideas has brought."""

    kind: str
    tried: int
    kept: int
    measured: int
    mean_delta_bpb: float | None
    error_bpb: float | None  # standard error of the mean


def quoted(text: str, limit: int = TITLE_CHARACTERS) -> str:
    """Untrusted text as a JSON string: bounded, on one line, and no tag can be closed in it."""
    shown = one_line(text[: 4 * limit], limit)
    shown = shown.encode()[:limit].decode(errors="ignore")  # a token may be less than a letter of other scripts
    return json.dumps(shown, ensure_ascii=False).replace("<", "‹").replace(">", "›")


def digest(context: Context, room: float = 1.0) -> dict[str, Any]:
    """The template's values; `room` below 1 leaves out that share of every list (a context that overflowed)."""

    def newest(rows: Iterable[Row], limit: int) -> list[Row]:
        return list(rows)[-ceil(limit * room) :]

    rows = [row for row in context.rows if row.state is not State.BASELINE]
    lost = [row for row in rows if row.state in (State.DISCARDED, State.REVERTED) and row.delta_bpb is not None]
    near = sorted((row for row in lost if (row.delta_bpb or 0) < 0), key=lambda row: row.delta_bpb or 0)
    ended = [row for row in rows if row.state.finished and not row.state.judged]
    failed = [row for row in ended if row.state.counts or row.state is State.UNJUDGED]
    return {
        "trials": len([row for row in rows if row.state.finished]),
        "incumbent": context.incumbent,
        "target": context.target,
        "steps": context.profile.tier.steps,
        "noise_bpb": context.noise.difference_sd,
        "detectable_bpb": context.profile.tier.rule.detectable(context.noise, context.seeds),
        "seeds": context.seeds,
        "lineage": newest((row for row in rows if row.state is State.KEPT), LINEAGE),
        "near": near[: ceil(NEAR * room)],
        "returns": list(returns(rows)),
        "recent": newest((row for row in rows if row.state.judged), RECENT),
        "failures": newest(failed, FAILURES),
        "in_flight": [row for row in rows if not row.state.finished],
        "ideas": list(ideas(rows).items())[-ceil(IDEAS * room) :],
        "lessons": lessons.known(context)[: ceil(lessons.LINES * room)],
        "why_characters": WHY_CHARACTERS,
    }


def returns(rows: list[Row]) -> Iterable[Returns]:
    """By class: how many were tried and kept, and the mean difference with its error where it was measured."""
    for kind in CLASSES:
        mine = [row for row in rows if row.kind == kind and row.state.finished and row.state.counts]
        deltas = [row.delta_bpb for row in mine if row.state.judged and row.delta_bpb is not None]
        error = stdev(deltas) / sqrt(len(deltas)) if len(deltas) > 1 else None
        kept = sum(row.state is State.KEPT for row in mine)
        yield Returns(kind, len(mine), kept, len(deltas), fmean(deltas) if deltas else None, error)


def ideas(rows: list[Row]) -> dict[str, str]:
    """The tags of ideas.md that proposals took up, each with its outcomes."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if (tag := idea_of(row.proposal)) and row.state.counts:
            found[tag].append(outcome(row))
    return {tag: "; ".join(outcomes[-2:]) for tag, outcomes in found.items()}

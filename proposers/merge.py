"""Two changes in one: near-misses that were tried apart, each perhaps too small to be seen, and compatible.

A pair is made of discarded or reverted trials that were better on their seeds; whose edits still apply, one after the
other, to today's incumbent; and which nobody has united before. What each is worth adds up if they do not meet.
"""

import json
from collections.abc import Iterator
from itertools import combinations

from data.errors import Exhausted, ProposalError
from data.state import State
from experiments.ledger import Row
from experiments.proposal import MERGE, Proposal, edits_between
from experiments.proposal import apply as applied
from preflight.tree import Tree
from proposers import Options
from proposers.context import Context
from proposers.reply import read

CANDIDATES = 8  # the nearest misses


class Merge:
    """Proposes the pair whose measured gains are largest together."""

    def propose(self, context: Context) -> str:
        made = self.find(context)
        if made is None:
            raise Exhausted("merge: no two near-misses that go together and are new")
        return made

    def find(self, context: Context) -> str | None:
        """The next proposal, if there is one."""
        for one, other in pairs(context.rows):
            try:
                tree = with_change(with_change(context.tree, one), other)
                return read(json.dumps(united(context, one, other, tree)), context).to_json()
            except ProposalError:
                continue  # they meet in the same lines, or it was tried
        return None

    def repair(self, message: str) -> str | None:
        return None


def pairs(rows: list[Row]) -> Iterator[tuple[Row, Row]]:
    """Near-misses two by two, the largest measured gain together first."""
    missed = [row for row in rows if row.state in (State.DISCARDED, State.REVERTED) and (row.delta_bpb or 0) < 0]
    missed = sorted((row for row in missed if row.kind != "none"), key=lambda row: row.delta_bpb or 0)[:CANDIDATES]
    yield from sorted(combinations(missed, 2), key=lambda pair: sum(row.delta_bpb or 0 for row in pair))


def with_change(tree: Tree, row: Row) -> Tree:
    """Another tree with a trial's edits; raises ProposalError where they no longer match."""
    return applied(Proposal.parse(row.proposal), tree)


def united(context: Context, one: Row, other: Row, tree: Tree) -> dict[str, object]:
    expected = sum(row.delta_bpb or 0.0 for row in (one, other)) / 2  # what was chosen for its number regresses
    return {
        "title": f"Trials {one.number:04d} and {other.number:04d} together"[:90],
        "hypothesis": (
            f"Both were better on their seeds ({one.delta_bpb:+.4f} and {other.delta_bpb:+.4f} bpb), neither by "
            "enough, and they change different lines; if both gains are real they add up to what can be seen."
        ),
        "class": one.kind,
        "parent": context.parent,
        "expected_delta_bpb": expected,
        "by": MERGE,
        "edits": edits_between(context.tree, tree),
    }


def merge(options: Options) -> Merge:
    return Merge()

"""The merge proposer: unites two near misses that were tried apart and are compatible.

Each may have been too small an improvement to be detected; if they do not interact, their gains add up. A pair consists
of discarded or reverted trials that were better on their seeds, whose edits still apply, one after the other, to the
current incumbent, and which have not been united before.
"""

import json
from collections.abc import Iterator
from itertools import combinations

from common.errors import Exhausted, ProposalError
from common.state import State
from experiments.ledger.rows import Row
from experiments.proposal.options import ProposerOptions
from experiments.proposal.parts import MERGE
from experiments.proposal.patch import apply, edits_between
from experiments.proposal.schema import Proposal
from preflight.source.tree import Tree
from proposers import Proposer
from proposers.context import Context
from proposers.reply import read_proposal

CANDIDATES = 8  # near misses that are considered, the best first


class Merge(Proposer):
    """Propose the pair of near misses with the largest sum of measured gains."""

    def propose(self, context: Context) -> str:
        proposal = self.find(context)
        if proposal is None:
            raise Exhausted("merge: no two near misses that are compatible and have not been merged yet")
        return proposal

    def find(self, context: Context) -> str | None:
        """Return the next proposal, or None if there is no pair left."""
        for first, second in pairs(context.rows):
            try:
                tree = with_change(with_change(context.tree, first), second)
                return read_proposal(json.dumps(merged(context, first, second, tree)), context).to_json()
            except ProposalError:
                continue  # they change the same lines, or the pair was tried
        return None


def pairs(rows: list[Row]) -> Iterator[tuple[Row, Row]]:
    """Yield the pairs of near misses, the largest sum of measured gains first."""
    missed = [row for row in rows if row.state in (State.DISCARDED, State.REVERTED) and (row.delta_bpb or 0) < 0]
    missed = sorted((row for row in missed if row.kind != "none"), key=lambda row: row.delta_bpb or 0)[:CANDIDATES]
    yield from sorted(combinations(missed, 2), key=lambda pair: sum(row.delta_bpb or 0 for row in pair))


def with_change(tree: Tree, row: Row) -> Tree:
    """Return another tree with a trial's edits; raise ProposalError if they no longer match."""
    return apply(Proposal.parse(row.proposal), tree)


def merged(context: Context, first: Row, second: Row, tree: Tree) -> dict[str, object]:
    """Return the proposal that turns the incumbent into `tree`."""
    # Half the sum: numbers that were selected for being good regress to the mean.
    expected = sum(row.delta_bpb or 0.0 for row in (first, second)) / 2
    return {
        "title": f"Trials {first.number:04d} and {second.number:04d} together"[:90],
        "hypothesis": (
            f"Both were better on their seeds ({first.delta_bpb:+.4f} and {second.delta_bpb:+.4f} bpb), neither by "
            "enough, and they change different lines; if both gains are real, their sum is large enough to detect."
        ),
        "class": first.kind,
        "parent": context.parent,
        "expected_delta_bpb": expected,
        "by": MERGE,
        "edits": edits_between(context.tree, tree),
    }


def merge(options: ProposerOptions) -> Merge:
    return Merge()

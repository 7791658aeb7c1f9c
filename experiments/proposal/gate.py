"""The gates of a proposal, the same for proposers, for the loop and for `check`; none of them costs compute."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from common.errors import ProposalError
from common.state import ATTEMPTS, State
from experiments.ledger.rows import Row
from experiments.proposal import novelty
from experiments.proposal.parts import MERGE, PERSON
from experiments.proposal.patch import apply, changed_lines, is_no_op, net_code_lines
from experiments.proposal.schema import Proposal
from preflight import checks
from preflight.source.tree import Tree


@dataclass(frozen=True)
class Change:
    """A proposal's edits applied to its parent, and what the ledger keeps of them."""

    proposal: Proposal
    parent: Tree
    tree: Tree
    lines_added: int
    lines_removed: int
    fingerprint: str  # of the tree, comments and layout aside
    lines: frozenset[str]  # the changed ones, each as a short hash

    @classmethod
    def make(cls, proposal: Proposal, parent: Tree, say: Callable[[str], None] = lambda _: None) -> "Change":
        """Apply a proposal to its parent.

        Args:
            proposal: The edits.
            parent: The tree that they are applied to.
            say: Called with one line for each edit that applies although invisible characters differ.

        Raises:
            ProposalError: An edit does not apply, or the edits are too large.
        """
        tree = apply(proposal, parent, say)
        added, removed = changed_lines(tree, parent)
        fingerprint, lines = novelty.fingerprint(tree), novelty.changed_line_hashes(tree, parent)
        return cls(proposal, parent, tree, added, removed, fingerprint, lines)

    def columns(self) -> dict[str, object]:
        """Return the change as columns of a row of the ledger."""
        return {
            "lines_added": self.lines_added,
            "lines_removed": self.lines_removed,
            "net_code_lines": net_code_lines(self.tree, self.parent),
            "fingerprint": self.fingerprint,
            "change": json.dumps(sorted(self.lines)),
        }


def gates(
    change: Change, rows: list[Row], static: bool = True, tree_id: str | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the name and the result of each gate as the change passes it.

    Args:
        change: The change to check.
        rows: The earlier trials.
        static: Include the static checks; the loop leaves them out because its preflight starts with them.

    Raises:
        ProposalError: The change does not pass a gate.
    """
    tree, parent = change.tree, change.parent
    files = sum(tree.get(path) != parent.get(path) for path in tree.keys() | parent.keys())
    yield "edits", f"{files} files, +{change.lines_added} -{change.lines_removed} lines"
    if is_no_op(tree, parent):
        message = "the edits change nothing but comments and layout; expected a change of behaviour"
        raise ProposalError(State.NO_OP, message)
    yield "change", "more than comments and layout"
    if static:
        for finding in checks.static(tree, parent):
            raise ProposalError(State(finding.rule), str(finding))
        yield "static", "paths, syntax and names"
    # By git's tree too, where it is known: syntax is dumped differently from one Python to the next.
    same = [row for row in rows if row.fingerprint == change.fingerprint or (tree_id and row.tree == tree_id)]
    if len(lost := [row for row in same if row.state is State.INFRA]) >= ATTEMPTS:
        numbers = " and ".join(f"{row.number:04d}" for row in lost)
        message = f"trials {numbers} of this tree ended in infrastructure failures; it is not tried a third time"
        raise ProposalError(State.DUPLICATE, message)
    for row in same:
        if row.state.counts_as_attempt:
            raise ProposalError(State.DUPLICATE, f"this tree is {novelty.describe_trial(row)}; expected a new one")
    if change.proposal.by not in (MERGE, PERSON):  # the parts of a merge were tried, but not together
        novelty.require_novel(change.lines, rows)
    yield "new", f"unlike all of {len(rows)} trials"

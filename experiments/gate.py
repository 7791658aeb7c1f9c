"""Every gate that a proposal passes before it costs anything: do its edits apply, is it allowed, is it new?"""

from collections.abc import Callable, Iterator

from data.errors import ProposalError
from data.state import State
from experiments import novelty
from experiments.ledger import Row
from experiments.proposal import MERGE, Proposal, apply, changed_lines, is_no_op
from preflight import checks
from preflight.tree import Tree


def gates(
    proposal: Proposal, parent: Tree, incumbent: Row | None, rows: list[Row], say: Callable[[str], None]
) -> Iterator[tuple[str, str]]:
    """The name of each gate and what was found, once it is passed; raises ProposalError at the first that is shut.

    `say` hears of edits that apply although invisible characters differ.
    """
    tree = apply(proposal, parent, say)
    added, removed = changed_lines(tree, parent)
    files = sum(tree.get(path) != parent.get(path) for path in tree.keys() | parent.keys())
    yield "edits", f"{files} files, +{added} -{removed} lines"
    if is_no_op(tree, parent):
        message = "the edits change nothing but comments and layout; expected a change of behaviour"
        raise ProposalError(State.NO_OP, message)
    yield "change", "more than comments and layout"
    for finding in checks.static(tree, parent):
        raise ProposalError(State(finding.rule), str(finding))
    yield "static", "paths, syntax and names"
    name = novelty.fingerprint(tree, parent, incumbent.fingerprint if incumbent else None)
    for row in rows:
        if row.fingerprint == name and row.state.counts:
            raise ProposalError(State.DUPLICATE, f"this tree is {novelty.told(row)}; expected a new one")
    if proposal.by != MERGE:  # what it unites was tried, and not together
        novelty.require_unlike(novelty.change(tree, parent), rows)
    yield "new", f"unlike all of {len(rows)} trials"

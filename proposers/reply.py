"""From a proposer's text to a proposal that applies, or to a message the proposer can act on."""

import json
import re

from data.errors import ProposalError, ProposerFailed
from experiments.proposal import Proposal, apply, is_no_op
from proposers import Proposer
from proposers.context import Context

REPAIRS = 2
MOST_OBJECTS = 100  # in one reply
FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n```", re.DOTALL)


def read(text: str, context: Context) -> Proposal:
    """The proposal in a reply, checked against the incumbent's tree; raises ProposalError.

    A reply that leaves out `parent` means the incumbent it was shown.
    """
    found = json_object(text)
    found.setdefault("parent", context.parent)
    proposal = Proposal.parse(json.dumps(found))
    if is_no_op(apply(proposal, context.tree), context.tree):
        raise ProposalError("no_op", "the edits change nothing but comments and layout; expected a change of behaviour")
    return proposal


def json_object(text: str) -> dict[str, object]:
    """The one JSON object of a reply: bare, in a code fence, or between prose."""
    fenced = FENCE.search(text)
    found = _objects(fenced.group(1) if fenced else text)
    if not found:
        raise ProposalError("bad_diff", "expected one JSON object, got none that parses")
    return max(found, key=lambda value: ("edits" in value, len(value)))


def _objects(text: str) -> list[dict[str, object]]:
    """Every JSON object that stands in a text, those within another left out."""
    decoder, at = json.JSONDecoder(), 0
    found: list[dict[str, object]] = []
    while (at := text.find("{", at)) >= 0 and len(found) < MOST_OBJECTS:
        try:
            value, at = decoder.raw_decode(text, at)
            found.append(value)
        except (ValueError, RecursionError):
            at += 1
    return found


def repair_message(error: ProposalError) -> str:
    """What goes back to the proposer."""
    return (
        f"The proposal was refused before it ran ({error.verdict}): {error}\n"
        "Answer with the whole corrected proposal as one JSON object. "
        "Every search text must match its file exactly once."
    )


def next_proposal(proposer: Proposer, context: Context) -> str:
    """Ask, repair at most twice, and return the proposal as JSON.

    A last reply that still does not apply is returned as it is: the loop settles it as a typed row.
    """
    text, refused = "", None
    for _ in range(1 + REPAIRS):
        try:
            answer = proposer.propose(context) if refused is None else proposer.repair(repair_message(refused))
            if answer is None:
                break
            text = answer
            return read(text, context).to_json()
        except ProposalError as error:
            refused = error
    if not text:
        raise ProposerFailed(f"no answer that applies: {refused}")
    try:
        found = json_object(text)
    except ProposalError:
        return text
    found.setdefault("parent", context.parent)
    return json.dumps(found)

"""From a proposer's text to a proposal that applies and is new, or to a message the proposer can act on."""

import json
import re

from data.errors import ProposalError
from data.state import State
from experiments import novelty
from experiments.proposal import MERGE, Proposal, apply, is_no_op
from preflight import checks
from preflight.text import one_line
from proposers import Proposer, render
from proposers.context import Context

REPAIRS = 2
MOST_OBJECTS, MOST_LOGGED = 100, 10_000  # in one reply, and in all that a program says
FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n```", re.DOTALL)


def read(text: str, context: Context) -> Proposal:
    """The proposal in a reply, checked against the incumbent's tree and what was tried; raises ProposalError.

    A reply that leaves out `parent` means the incumbent it was shown. Everything that runs nothing is checked here, so
    that a proposer hears of it in the same conversation.
    """
    found = json_object(text)
    found.setdefault("parent", context.parent)
    proposal = Proposal.parse(json.dumps(found))
    tree = apply(proposal, context.tree)
    if is_no_op(tree, context.tree):
        raise ProposalError(
            State.NO_OP, "the edits change nothing but comments and layout; expected a change of behaviour"
        )
    for finding in checks.static(tree, context.tree):
        raise ProposalError(State(finding.rule), str(finding))
    name = novelty.fingerprint(tree, context.tree, context.incumbent.fingerprint if context.incumbent else None)
    for row in context.rows:
        if row.fingerprint == name and row.state.counts:
            raise ProposalError(State.DUPLICATE, f"this tree is {novelty.told(row)}; expected a new one")
    if proposal.by != MERGE:  # what it unites was tried, and not together
        novelty.require_unlike(novelty.change(tree, context.tree), context.rows)
    return proposal


def json_object(text: str) -> dict[str, object]:
    """The one JSON object of a reply: bare, in a code fence, or between prose."""
    fenced = FENCE.search(text)
    found = _objects(fenced.group(1) if fenced else text)
    if not found:
        raise ProposalError(State.BAD_DIFF, "expected one JSON object, got none that parses")
    return max(found, key=lambda value: ("edits" in value, len(value)))


def last_titled(said: str) -> dict[str, object] | None:
    """The last JSON object with a title among a program's words, which may hold its whole conversation."""
    return next((value for value in reversed(_objects(said, MOST_LOGGED)) if "title" in value), None)


def _objects(text: str, most: int = MOST_OBJECTS) -> list[dict[str, object]]:
    """The first JSON objects that stand in a text, those within another left out."""
    decoder, at = json.JSONDecoder(), 0
    found: list[dict[str, object]] = []
    while (at := text.find("{", at)) >= 0 and len(found) < most:
        try:
            value, at = decoder.raw_decode(text, at)
            found.append(value)
        except (ValueError, RecursionError):
            at += 1
    return found


def next_proposal(proposer: Proposer, context: Context) -> str:
    """Ask, repair at most twice, and return the proposal as JSON.

    A last reply that still does not apply is returned as it is: the loop settles it as a typed row.
    """
    text, refused = "", None
    for _ in range(1 + REPAIRS):
        try:
            if refused is None:
                answer: str | None = proposer.propose(context)
            else:
                answer = proposer.repair(render.repair(refused.verdict, str(refused)))
            if answer is None:
                break
            text = answer
            return read(text, context).to_json()
        except ProposalError as error:
            refused = error
    if not text:
        return json.dumps({"title": one_line(f"No answer that can be read: {refused}")})
    try:
        found = json_object(text)
    except ProposalError:
        return text
    found.setdefault("parent", context.parent)
    return json.dumps(found)

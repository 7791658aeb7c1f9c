"""Parsing, checking and repair of replies: from a proposer's text to a proposal that applies and is new."""

import json
from collections.abc import Iterator

from common.errors import ProposalError
from common.state import State
from experiments.proposal.gate import Change, gates
from experiments.proposal.parts import REFUSED
from experiments.proposal.schema import Proposal
from proposers import Proposer
from proposers.context import Context
from proposers.json_objects import JsonObjects, find_objects
from proposers.notes import note

REPAIRS = 2
INPUT_KEYS = {"proposal_schema", "trials", "path"}  # of the context that a program may repeat, and of a single edit


def read_proposal(text: str, context: Context) -> Proposal:
    """Return the proposal in a reply, after every check that runs nothing.

    These checks come again in the trial, but here their result still reaches the proposer as a repair message.

    Args:
        text: The reply. If its proposal leaves out `parent`, it is meant for the incumbent.
        context: The incumbent's tree and the trials so far.

    Raises:
        ProposalError: There is no proposal, it does not apply, it breaks a static rule, or it was tried.
    """
    fields = json_object(text)
    fields.setdefault("parent", context.parent)
    proposal = Proposal.parse(json.dumps(fields))
    list(gates(Change.make(proposal, context.tree, note), context.rows))  # raises at the first gate that refuses
    return proposal


def json_object(text: str) -> dict[str, object]:
    """Return the proposal of a reply: the last object with a title and edits, or else the last plausible one.

    Raises:
        ProposalError: There is none; the message says where JSON breaks off.
    """
    objects = find_objects(text)
    if objects.proposal_broken:
        message = f"expected JSON, got a proposal that breaks off at {objects.proposal_broken}"
        raise ProposalError(State.BAD_DIFF, message)
    complete = [value for value in objects.with_edits if value["edits"] and "title" in value]
    quoted = next((inner.with_edits for inner in _quoted(objects, '"edits"') if inner.with_edits), ())
    titled = [value for value in objects.outermost if "title" in value or isinstance(value.get("files"), list)]
    rest = [] if objects.broken else [value for value in objects.outermost if not INPUT_KEYS & value.keys()]
    for candidates in (complete, objects.with_edits, quoted, titled, rest):
        if candidates:
            return candidates[-1]
    broken = f"one that breaks off at {objects.broken}" if objects.broken else "none"
    raise ProposalError(State.BAD_DIFF, f"expected one JSON object, got {broken}")


def last_titled(text: str) -> dict[str, object] | None:
    """Return the last JSON object with a title in a program's output, except the run's rows, which it may repeat."""
    objects = find_objects(text)
    for candidates in (objects, *_quoted(objects, '"title"')):
        if answers := [value for value in candidates.outermost if "title" in value and "number" not in value]:
            return answers[-1]
    return None


def _quoted(objects: JsonObjects, key: str) -> Iterator[JsonObjects]:
    """Yield the objects inside strings, the last first: agents log their answer as a string, at any depth."""
    pending: list[object] = [value for value in objects.outermost if not INPUT_KEYS & value.keys()]
    while pending:
        value = pending.pop()
        if isinstance(value, str) and key in value:
            yield find_objects(value)
        elif isinstance(value, dict | list):
            pending += value.values() if isinstance(value, dict) else value


def refusal_message(error: ProposalError) -> str:
    """Return the message that asks a proposer to repair its proposal."""
    return (
        f"The proposal was refused before it ran ({error.verdict}): {error}\n"
        "Answer with the whole corrected proposal as one JSON object. Every search text must match its file exactly "
        "once. If the idea itself has been tried, propose another one of the same class."
    )


def next_proposal(proposer: Proposer, context: Context) -> str:
    """Return the next proposal as JSON, after at most two repairs.

    A last reply that still does not apply is returned as it is: the loop records it as a row with the matching state.
    """
    text, refused = "", None
    for _ in range(1 + REPAIRS):
        try:
            if refused is None:
                answer: str | None = proposer.propose(context)
            else:
                answer = proposer.repair(refusal_message(refused))
            if answer is None:
                break
            text = answer
            return read_proposal(text, context).to_json()
        except ProposalError as error:
            refused = error
    if not text:
        return json.dumps({"title": "no readable answer", REFUSED: str(refused)})
    try:
        fields = json_object(text)
    except ProposalError:
        return text
    fields.setdefault("parent", context.parent)
    return json.dumps(fields)

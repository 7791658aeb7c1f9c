"""From a proposer's text to a proposal that applies and is new, or to a message the proposer can act on."""

import json
from collections.abc import Iterator

from data.errors import ProposalError
from data.state import State
from experiments.gate import gates
from experiments.proposal import REFUSED, Proposal
from proposers import Proposer, render
from proposers.context import Context
from proposers.notes import note
from proposers.objects import Objects, objects

REPAIRS = 2
ECHOED = {"proposal_schema", "trials", "path"}  # of what a program was told, and of a single edit


def read(text: str, context: Context) -> Proposal:
    """The proposal in a reply, checked against the incumbent's tree and what was tried; raises ProposalError.

    A reply that leaves out `parent` means the incumbent it was shown. Everything that runs nothing is checked here, so
    that a proposer hears of it in the same conversation.
    """
    found = json_object(text)
    found.setdefault("parent", context.parent)
    proposal = Proposal.parse(json.dumps(found))
    list(gates(proposal, context.tree, context.incumbent, context.rows, note))  # raises at the first that is shut
    return proposal


def json_object(text: str) -> dict[str, object]:
    """The proposal of a reply, wherever it stands: the last object with a title and edits, else the last there is.

    Raises ProposalError that says where JSON breaks off.
    """
    found = objects(text)
    if found.proposal_broken:
        raise ProposalError(State.BAD_DIFF, f"expected JSON, got a proposal that breaks off at {found.proposal_broken}")
    whole = [value for value in found.with_edits if value["edits"] and "title" in value]
    quoted = next((inside.with_edits for inside in _quoted(found, '"edits"') if inside.with_edits), ())
    asked = [value for value in found.outermost if "title" in value or isinstance(value.get("files"), list)]
    others = [] if found.broken else [value for value in found.outermost if not ECHOED & value.keys()]
    for known in (whole, found.with_edits, quoted, asked, others):
        if known:
            return known[-1]
    broken = f"one that breaks off at {found.broken}" if found.broken else "none"
    raise ProposalError(State.BAD_DIFF, f"expected one JSON object, got {broken}")


def last_titled(said: str) -> dict[str, object] | None:
    """The last JSON object with a title in a program's words; rows of the run, which it may repeat, are no answer."""
    found = objects(said)
    for inside in (found, *_quoted(found, '"title"')):
        if answers := [value for value in inside.outermost if "title" in value and "number" not in value]:
            return answers[-1]
    return None


def _quoted(found: Objects, key: str) -> Iterator[Objects]:
    """What strings of the objects hold, the last first: an agent's log keeps an answer as one, at any depth."""
    left: list[object] = [value for value in found.outermost if not ECHOED & value.keys()]
    while left:
        value = left.pop()
        if isinstance(value, str) and key in value:
            yield objects(value)
        elif isinstance(value, dict | list):
            left += value.values() if isinstance(value, dict) else value


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
        return json.dumps({"title": "no answer that can be read", REFUSED: str(refused)})
    try:
        found = json_object(text)
    except ProposalError:
        return text
    found.setdefault("parent", context.parent)
    return json.dumps(found)

"""From a proposer's text to a proposal that applies and is new, or to a message the proposer can act on."""

import json

from data.errors import ProposalError
from data.state import State
from experiments.gate import gates
from experiments.proposal import REFUSED, Proposal
from proposers import Proposer, render
from proposers.context import Context
from proposers.notes import note
from proposers.objects import objects

REPAIRS = 2


def read(text: str, context: Context) -> Proposal:
    """The proposal in a reply, checked against the incumbent's tree and what was tried; raises ProposalError.

    A reply that leaves out `parent` means the incumbent it was shown. Everything that runs nothing is checked here, so
    that a proposer hears of it in the same conversation.
    """
    found = json_object(text)
    found.setdefault("parent", context.parent)
    proposal = Proposal.parse(json.dumps(found))
    for _ in gates(proposal, context.tree, context.incumbent, context.rows, note):
        pass  # the first that is shut raises
    return proposal


def json_object(text: str) -> dict[str, object]:
    """The proposal of a reply, wherever it stands: the last object with a title and edits, else the last there is.

    Raises ProposalError that says where JSON breaks off.
    """
    found = objects(text)
    if found.proposal_broken:
        raise ProposalError(State.BAD_DIFF, f"expected JSON, got a proposal that breaks off at {found.proposal_broken}")
    if not found.with_edits:  # an agent's log keeps an answer as a string
        said = [words for value in found.outermost for words in value.values() if isinstance(words, str)]
        quoted = (objects(words).with_edits for words in reversed(said) if '"edits"' in words)
        found.with_edits = next((inside for inside in quoted if inside), found.with_edits)
    whole = [value for value in found.with_edits if value["edits"] and "title" in value]
    others = (
        [] if found.broken else [value for value in found.outermost if "path" not in value]
    )  # edits of a broken one
    for known in (
        whole,
        found.with_edits,
        [value for value in found.outermost if {"title", "files"} & value.keys()],
        others,
    ):
        if known:
            return known[-1]
    broken = f"one that breaks off at {found.broken}" if found.broken else "none"
    raise ProposalError(State.BAD_DIFF, f"expected one JSON object, got {broken}")


def last_titled(said: str) -> dict[str, object] | None:
    """The last JSON object with a title in a program's words; rows of the run, which it may repeat, are no answer."""
    answers = (value for value in reversed(objects(said).outermost) if "title" in value and "number" not in value)
    return next(answers, None)


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

"""The LLM proposer: a question with a cached prefix, at most one request for files, repairs in the same conversation.

What is said about the Messages API follows the installed SDK (anthropic 2.12.0) and platform.claude.com/docs.
"""

import json
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from common.errors import Exhausted, NeedsPerson, ProposalError, ProposerFailed
from experiments import credentials, messages_client
from experiments.proposal.options import ProposerOptions
from experiments.proposal.parts import MERGE, SEARCH, by_of, idea_of
from experiments.proposal.schema import Proposal
from proposers import Proposer
from proposers.allocation import allocate_class
from proposers.context import Context
from proposers.llm import dry_run, lessons, messages, prompt
from proposers.llm.budget import CallBudget
from proposers.llm.chat import PAUSES_SECONDS, Chat
from proposers.llm.plan import Plan
from proposers.notes import note
from proposers.reply import read_proposal

# The newest Opus as of 2026-11-21, between Sonnet 5.5 ($2/$10) and Fable 5.1 ($10/$50) in price. A cached prefix costs
# 5 % of fresh input: with 40k tokens cached, the answer is the larger part of the bill, so better answers are worth it.
MODEL = "claude-opus-5-5"
EFFORT = "medium"  # the model's default; thinking is billed as output
CLASSES_ASKED = 2  # classes that are tried if the model refuses the first
EFFORTS = ("low", "medium", "high", "xhigh", "max")


class Anthropic(Proposer):
    """Ask a model over the Messages API; every request is recorded in the ledger before it is sent.

    Args:
        options: The model, its effort and the budget.
        numbers_elsewhere: A numeric search runs in the same run, so the model is asked for structural changes only.
        pauses: Seconds to wait before each retry of a request.
        sleep: Called with the seconds of a pause; replaced in tests.

    Raises:
        NeedsPerson: The effort is not one of EFFORTS.
    """

    def __init__(
        self,
        options: ProposerOptions,
        numbers_elsewhere: bool = False,
        pauses: tuple[float, ...] = PAUSES_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.model, self.effort, self.budget_usd = options.model or MODEL, options.effort or EFFORT, options.budget_usd
        if self.effort not in EFFORTS:
            raise NeedsPerson(f"--effort: got {self.effort!r}, expected one of {', '.join(EFFORTS)}")
        self.numbers_elsewhere, self.pauses, self.sleep = numbers_elsewhere, pauses, sleep
        self.context: Context | None = None
        self.budget: CallBudget | None = None
        self.chat: Chat | None = None

    def plan(self, context: Context, skip: tuple[str, ...] = ()) -> Plan:
        """Return the next question: its class, which is none of `skip`, its settings and its prompt."""
        # Search and merge, the other proposers of a mix, have classes too; those are not turns of the model.
        rows = [row for row in context.rows if by_of(row.proposal) not in (SEARCH, MERGE)]
        choice = allocate_class(rows, skip)
        # A question per trial; in a mix, per second trial.
        minutes_between = context.profile.trial_minutes * (2 if self.numbers_elsewhere else 1)
        return Plan(
            choice=choice,
            model=self.model,
            effort=self.effort,
            cache_ttl=messages.cache_ttl(self.model, minutes_between),
            minutes_between=minutes_between,
            budget_usd=self.budget_usd,
            write_prompt=partial(prompt.prompt, context, choice.name, self.numbers_elsewhere),
        )

    def explain(self, context: Context, full: bool) -> str:
        return dry_run.explain(self.plan(context), context, full)

    def propose(self, context: Context) -> str:
        self.context = context
        budget = self.budget = CallBudget.open(context.ledger, context.profile, self.model, self.budget_usd)
        if proposal := self._untried(context, budget):
            return proposal
        refused, reason = list(budget.calls.refused_classes()), ""
        for _ in range(CLASSES_ASKED):
            refused.append(self._start_chat(context, budget, tuple(refused)))
            try:
                return self._ask("propose")
            except messages.Refusal as refusal:
                reason = str(refusal)
                note(reason)
        raise Exhausted(f"{reason}, and another class too; try another --model, or --proposer search, which needs none")

    def repair(self, message: str) -> str | None:
        if self.chat is None:
            return None
        self.chat.say(message)
        try:
            return self._ask("repair")
        except messages.Refusal as refusal:
            raise ProposerFailed(str(refusal)) from refusal

    def close(self) -> None:
        """Close the connection and release the lock, so that another process may ask."""
        if self.budget:
            self.budget.close()
        if self.chat:
            self.chat.client.close()
        self.budget = self.chat = None

    def _start_chat(self, context: Context, budget: CallBudget, skip: tuple[str, ...]) -> str:
        """Start a conversation and return the class that it is about."""
        client = messages_client.client(credentials.read())
        plan = self.plan(context, skip)
        self.chat = Chat(client, budget, plan, trial=len(context.rows), pauses=self.pauses, sleep=self.sleep)
        return plan.choice.name

    def _untried(self, context: Context, budget: CallBudget) -> str | None:
        """Return a proposal that was paid for but never tried, written against the current incumbent."""
        for text in budget.calls.untried_proposals(context.rows):
            try:
                return read_proposal(json.dumps({**json.loads(text), "parent": context.parent}), context).to_json()
            except ProposalError:
                continue  # the incumbent has changed since, or the proposal was refused when it was new
        return None

    def _ask(self, purpose: str) -> str:
        """Return one answer as the text of a proposal; send files once if it asks for them."""
        chat, context = self.chat, self.context
        assert chat is not None
        assert context is not None
        reply = chat.answer(purpose)
        wanted = reply.get("files")
        if purpose == "propose" and isinstance(wanted, list) and wanted and not reply.get("edits"):
            chat.say(prompt.more_files(context.tree, [str(path) for path in wanted]))
            reply = chat.answer("files")
        if isinstance(lines := reply.get("lessons"), list) and lines and lessons.due(context):
            lessons.save(context, [str(line) for line in lines])
        text = json.dumps(proposal_from(reply, context.parent, self.model))
        attach_proposal(chat, text)
        return text


def attach_proposal(chat: Chat, text: str) -> None:
    """Record the newest answer of a conversation as its proposal; those before it were refused."""
    *earlier, newest = chat.calls
    for number in earlier:
        chat.budget.calls.attach_proposal(number, None)
    try:
        chat.budget.calls.attach_proposal(newest, Proposal.parse(text).to_json())
    except ProposalError:
        return  # it could not be tried later


def proposal_from(reply: dict[str, Any], parent: str, model: str) -> dict[str, Any]:
    """Turn a reply of the form prompts/reply.schema.json into a proposal, which `Proposal.parse` validates."""
    edits = reply.get("edits")
    names = ("title", "hypothesis", "class", "expected_delta_bpb")
    return {
        **{name: reply[name] for name in names if name in reply},
        "idea": idea_of(json.dumps(reply)),
        "by": re.sub(r"[^\w.-]", "-", model)[:60],
        "parent": parent,
        "edits": [_edit(edit) for edit in edits] if isinstance(edits, list) else edits,
    }


def _edit(edit: object) -> object:
    """Return an edit without its empty fields."""
    if not isinstance(edit, dict):
        return edit
    empty = ("search", "replace") if edit.get("content") else ("content",)
    return {name: value for name, value in edit.items() if value or name not in empty}

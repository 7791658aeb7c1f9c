"""The LLM as proposer: a question with a cached prefix, one request for files, repairs in the same conversation.

Facts of the Messages API are those of the installed SDK's types (anthropic 2.12.0) and platform.claude.com/docs.
"""

import json
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from data.errors import Exhausted, NeedsPerson, ProposalError, ProposerFailed
from experiments import api_client, key
from experiments.proposal import MERGE, SEARCH, Proposal, by_of, idea_of
from proposers import Options, lessons, messages, preview, render
from proposers.choice import Choice, next_class
from proposers.context import Context
from proposers.conversation import PAUSES_SECONDS, Conversation
from proposers.meter import Meter
from proposers.notes import note
from proposers.reply import read

# 2026-11-21: the newest Opus. Between Sonnet 5.5 ($2/$10) and Fable 5.1 ($10/$50) in price, and a cached prefix costs
# 5 % of fresh input: with 40k tokens cached the answer is the larger part of the bill, so better answers are worth it.
MODEL = "claude-opus-5-5"
EFFORT = "medium"  # the model's own default; thinking is billed as output
CLASSES_ASKED = 2  # of a model that refuses
EFFORTS = ("low", "medium", "high", "xhigh", "max")


class Anthropic:
    """Asks the Messages API; every request is a row of the ledger before it leaves."""

    def __init__(
        self,
        options: Options,
        numbers_elsewhere: bool = False,
        pauses: tuple[float, ...] = PAUSES_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.model, self.effort, self.budget_usd = options.model or MODEL, options.effort or EFFORT, options.budget_usd
        if self.effort not in EFFORTS:
            raise NeedsPerson(f"--effort: got {self.effort!r}, expected one of {', '.join(EFFORTS)}")
        self.numbers_elsewhere, self.pauses, self.sleep = numbers_elsewhere, pauses, sleep
        self.context: Context | None = None
        self.meter: Meter | None = None
        self.conversation: Conversation | None = None

    def plan(self, context: Context, skip: tuple[str, ...] = ()) -> tuple[Choice, Callable[[float], render.Prompt]]:
        """What would be asked: the class with its reason, and the prompt in a given share of its room."""
        # Who proposes beside the model has classes too, which are not its turns.
        mine = [row for row in context.rows if by_of(row.proposal) not in (SEARCH, MERGE)]
        choice = next_class(mine, skip)
        return choice, partial(render.prompt, context, choice.name, self.numbers_elsewhere)

    def life(self, context: Context) -> str:
        """The cache life that costs least at the distance at which trials of this machine follow one another."""
        return messages.life(self.model, self.minutes_between(context))

    def minutes_between(self, context: Context) -> float:
        """How far apart two questions are: every trial, or in a mix every second one."""
        return context.profile.trial_minutes * (2 if self.numbers_elsewhere else 1)

    def explain(self, context: Context, whole: bool) -> str:
        """For a person: why this class and parent, what was tried; `whole`: the prompt, its tokens, what it costs."""
        return preview.explain(self, context, whole)

    def propose(self, context: Context) -> str:
        self.context = context
        meter = self.meter = Meter.open(context.ledger, context.profile, self.model, self.budget_usd)
        if paid := self._paid(context, meter):
            return paid
        refused, why = list(meter.calls.refused_classes()), ""
        for _ in range(CLASSES_ASKED):
            refused.append(self._begin(context, meter, tuple(refused)))
            try:
                return self._ask("propose")
            except messages.Refusal as refusal:
                why = str(refusal)
                note(why)
        raise Exhausted(f"{why}, and another class too; another --model may answer, --proposer search needs none")

    def repair(self, message: str) -> str | None:
        if self.conversation is None:
            return None
        self.conversation.say(message)
        try:
            return self._ask("repair")
        except messages.Refusal as refusal:
            raise ProposerFailed(str(refusal)) from refusal

    def close(self) -> None:
        """Let another process ask."""
        if self.meter:
            self.meter.close()
        if self.conversation:
            self.conversation.client.close()
        self.meter = self.conversation = None

    def _begin(self, context: Context, meter: Meter, skip: tuple[str, ...]) -> str:
        """A new conversation; returns the class that it is about."""
        choice, write = self.plan(context, skip)
        client = api_client.client(key.read())
        self.conversation = Conversation(
            *(client, meter, self.effort, self.life(context), len(context.rows), choice.name, write),
            pauses=self.pauses,
            sleep=self.sleep,
        )
        return choice.name

    def _paid(self, context: Context, meter: Meter) -> str | None:
        """A proposal that an earlier process paid for and nobody tried, written against today's incumbent."""
        for text in meter.calls.unspent(context.rows):
            try:
                return read(json.dumps({**json.loads(text), "parent": context.parent}), context).to_json()
            except ProposalError:
                continue  # the incumbent has moved on, or it was refused when it was new
        return None

    def _ask(self, purpose: str) -> str:
        """One answer as the text of a proposal; files that it asks for are sent once."""
        conversation, context = self.conversation, self.context
        assert conversation is not None
        assert context is not None
        found = conversation.answer(purpose)
        wanted = found.get("files")
        if purpose == "propose" and isinstance(wanted, list) and wanted and not found.get("edits"):
            conversation.say(render.more_files(context.tree, [str(path) for path in wanted]))
            found = conversation.answer("files")
        if isinstance(lines := found.get("lessons"), list) and lines and lessons.due(context):
            lessons.keep(context, [str(line) for line in lines])
        text = json.dumps(proposal(found, context.parent, self.model))
        remember(conversation, text)
        return text


def remember(conversation: Conversation, text: str) -> None:
    """The newest answer of a conversation is its proposal; those before it were refused."""
    *earlier, newest = conversation.calls
    for number in earlier:
        conversation.meter.calls.remember(number, None)
    try:
        conversation.meter.calls.remember(newest, Proposal.parse(text).to_json())
    except ProposalError:
        return  # nothing that could be tried later


def proposal(found: dict[str, Any], parent: str, model: str) -> dict[str, Any]:
    """A reply of prompts/reply.schema.json as a proposal; whatever else it holds is left to `Proposal.parse`."""
    edits = found.get("edits")
    names = ("title", "hypothesis", "class", "expected_delta_bpb")
    made = {name: found[name] for name in names if name in found}
    return {
        **made,
        "idea": idea_of(json.dumps(found)),
        "by": re.sub(r"[^\w.-]", "-", model)[:60],
        "parent": parent,
        "edits": [_edit(edit) for edit in edits] if isinstance(edits, list) else edits,
    }


def _edit(edit: object) -> object:
    """An edit without the fields that it leaves empty."""
    if not isinstance(edit, dict):
        return edit
    empty = ("search", "replace") if edit.get("content") else ("content",)
    return {name: value for name, value in edit.items() if value or name not in empty}


def anthropic_api(options: Options) -> Anthropic:
    return Anthropic(options)

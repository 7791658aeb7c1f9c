"""One conversation with the model: requests are recorded before sending, retried after a pause, and shrunk to fit."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anthropic

from common.errors import NeedsPerson, ProposalError, ProposerFailed
from common.state import State
from experiments.costs.llm_calls import Outcome
from proposers.llm import messages, prompt
from proposers.llm.budget import CallBudget
from proposers.llm.plan import Plan
from proposers.notes import note
from proposers.reply import json_object

# Includes thinking; a proposal of 300 lines alone takes about 5,000.
OUTPUT_TOKENS = {"low": 12_000, "medium": 16_000, "high": 32_000, "xhigh": 48_000, "max": 64_000}
PAUSES_SECONDS = (1, 4, 15, 30, 60, 120, 240, 480)
MAX_WAIT_SECONDS = 1_800  # in one conversation: well below the time limit of generate_next.py
PROMPT_SHARES = (1.0, 0.6, 0.3)  # of the prompt's usual room: at first, and after each overflow


@dataclass
class Chat:
    """A question, the turns after it, and the ledger's rows of the calls."""

    client: anthropic.Anthropic
    budget: CallBudget
    plan: Plan
    trial: int  # number that the proposal would get
    pauses: tuple[float, ...] = PAUSES_SECONDS
    sleep: Callable[[float], None] = time.sleep
    turns: list[dict[str, Any]] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    waited_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.prompt = self.plan.write_prompt(PROMPT_SHARES[0])
        self.output_tokens = OUTPUT_TOKENS[self.plan.effort]

    def say(self, text: str) -> None:
        """Add a message to the model."""
        self.turns.append({"role": "user", "content": text})

    def answer(self, purpose: str) -> dict[str, Any]:
        """Return one answer; retry after a pause where that may help, with a smaller prompt if it does not fit.

        Args:
            purpose: What the call is for, as the ledger records it: propose, files or repair.

        Raises:
            Refusal: The model refuses this class.
            ProposalError: The answer was cut off or contains no JSON.
            NoProposal: The budget is used up.
            NeedsPerson: The key, the bill or the model needs its user's attention.
            ProposerFailed: Retries were without success.
        """
        pauses, shares = iter(self.pauses), iter(PROMPT_SHARES[1:])
        while True:
            try:
                return self._request(purpose)
            except messages.Wait as wait:
                pause = next(pauses, None)
                pause = None if pause is None else max(pause, wait.seconds)
                if pause is None or self.waited_seconds + pause > MAX_WAIT_SECONDS:
                    raise ProposerFailed(f"{wait}; gave up after {self.waited_seconds:g} s of pauses") from wait
                self.waited_seconds += pause
                note(f"{wait}; waiting {pause:g} s")
                self.sleep(pause)
            except messages.Overflow as overflow:
                share = next(shares, None)
                if share is None:
                    raise ProposerFailed(f"{overflow}, even with {PROMPT_SHARES[-1]:.0%} of the prompt") from overflow
                note(f"{overflow}; retrying with {share:.0%} of the prompt")
                self.prompt = self.plan.write_prompt(share)
                self.turns.clear()  # earlier turns belong to the earlier prompt

    def _request(self, purpose: str) -> dict[str, Any]:
        plan = self.plan
        request = messages.request(plan.model, plan.effort, self.output_tokens, self.prompt, self.turns, plan.cache_ttl)
        characters, price = messages.characters(request), self.budget.price
        at_most = (
            price.worst_case_dollars(prompt.tokens(characters), self.output_tokens, plan.cache_ttl) if price else None
        )
        number = self.budget.reserve(purpose, plan.choice.name, self.trial, at_most, characters)
        began = time.monotonic()
        try:
            answer = messages.send(self.client, request)
        except messages.StreamInterrupted as interrupted:  # its cost is unknown: the reservation is settled in full
            self.budget.lose(number, at_most, time.monotonic() - began, str(interrupted))
            raise interrupted.wait from interrupted
        except messages.BadRequest as error:
            self.budget.lose(number, 0.0, time.monotonic() - began, str(error), Outcome.FAILED)
            if self.turns:  # a later turn is at fault, not the question
                raise ProposerFailed(str(error)) from error
            raise
        except (messages.Wait, messages.Overflow, NeedsPerson) as error:
            self.budget.lose(number, 0.0, time.monotonic() - began, str(error), Outcome.FAILED)
            raise
        state = Outcome.REFUSED if answer.refusal else Outcome.DONE
        detail = answer.refusal or ("" if answer.stopped == "end_turn" else answer.stopped)
        self.budget.settle(number, state, answer.tokens, time.monotonic() - began, answer.request_id, detail)
        if answer.refusal:
            raise messages.Refusal(f"{plan.model} refused an idea of class {plan.choice.name} ({answer.refusal})")
        self.calls.append(number)
        if answer.stopped == "max_tokens":
            message = f"the answer was cut off at {self.output_tokens} tokens; expected a shorter one"
            raise ProposalError(State.BAD_DIFF, message)
        if answer.stopped == "model_context_window_exceeded":
            raise messages.Overflow("the answer outgrew the model's context")
        if answer.text.strip():
            self.turns.append({"role": "assistant", "content": answer.content})
        return json_object(answer.text)

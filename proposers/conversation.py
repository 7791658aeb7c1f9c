"""One conversation with the model: requests that are booked before they leave, repeated after a pause, made smaller."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anthropic

from data.errors import NeedsPerson, ProposalError, ProposerFailed
from data.state import State
from experiments.calls import Outcome
from proposers import messages, render
from proposers.meter import Meter
from proposers.notes import note
from proposers.reply import json_object

# Thinking included; a proposal of 300 lines is about 5,000 by itself.
OUTPUT_TOKENS = {"low": 12_000, "medium": 16_000, "high": 32_000, "xhigh": 48_000, "max": 64_000}
PAUSES_SECONDS = (1, 4, 15, 30, 60, 120, 240, 480)
MOST_WAITED_SECONDS = 1_800  # in one conversation: well under what generate_next.py is given
SHRUNK = (1.0, 0.6, 0.3)  # how much room the prompt takes after an overflow


@dataclass
class Conversation:
    """A question, what was said since, and the rows of the ledger that it cost."""

    client: anthropic.Anthropic
    meter: Meter
    effort: str
    life: str  # of the prompt cache
    trial: int  # the number that its proposal would get
    kind: str  # the class of idea
    write: Callable[[float], render.Prompt]  # the prompt, in so much of its usual room
    pauses: tuple[float, ...] = PAUSES_SECONDS
    sleep: Callable[[float], None] = time.sleep
    turns: list[dict[str, Any]] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    waited_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.prompt = self.write(SHRUNK[0])
        self.output_tokens = OUTPUT_TOKENS[self.effort]

    def say(self, text: str) -> None:
        """The harness's next words."""
        self.turns.append({"role": "user", "content": text})

    def answer(self, purpose: str) -> dict[str, Any]:
        """One answer; the request is repeated after a pause where that may help, and smaller where it does not fit.

        Raises Refusal, ProposalError (cut off, no JSON), NeedsPerson, NoProposal (budget) or ProposerFailed.
        """
        pauses, rooms = iter(self.pauses), iter(SHRUNK[1:])
        while True:
            try:
                return self._request(purpose)
            except messages.Wait as wait:
                pause = next(pauses, None)
                pause = None if pause is None else max(pause, wait.seconds)
                if pause is None or self.waited_seconds + pause > MOST_WAITED_SECONDS:
                    raise ProposerFailed(f"{wait}; gave up after {self.waited_seconds:g} s of pauses") from wait
                self.waited_seconds += pause
                note(f"{wait}; waiting {pause:g} s")
                self.sleep(pause)
            except messages.Overflow as overflow:
                room = next(rooms, None)
                if room is None:
                    raise ProposerFailed(f"{overflow}, also with {SHRUNK[-1]:.0%} of the prompt") from overflow
                note(f"{overflow}; asking with {room:.0%} of the prompt")
                self.prompt = self.write(room)
                self.turns.clear()  # an answer belongs to the prompt that it was given to

    def _request(self, purpose: str) -> dict[str, Any]:
        request = messages.request(
            self.meter.model, self.effort, self.output_tokens, self.prompt, self.turns, self.life
        )
        characters, price = messages.characters(request), self.meter.price
        at_most = price.at_most(render.tokens(characters), self.output_tokens, self.life) if price else None
        number = self.meter.reserve(purpose, self.kind, self.trial, at_most, characters)
        began = time.monotonic()
        try:
            answer = messages.send(self.client, request)
        except messages.Unheard as unheard:  # what it cost is not known: the reservation stands as its price
            self.meter.lose(number, at_most, time.monotonic() - began, str(unheard))
            raise unheard.wait from unheard
        except messages.BadRequest as error:
            self.meter.lose(number, 0.0, time.monotonic() - began, str(error), Outcome.FAILED)
            if self.turns:  # what was said since is at fault, not the question
                raise ProposerFailed(str(error)) from error
            raise
        except (messages.Wait, messages.Overflow, NeedsPerson) as error:
            self.meter.lose(number, 0.0, time.monotonic() - began, str(error), Outcome.FAILED)
            raise
        state = Outcome.REFUSED if answer.refusal else Outcome.DONE
        told = answer.refusal or ("" if answer.stopped == "end_turn" else answer.stopped)
        self.meter.settle(number, state, answer.tokens, time.monotonic() - began, answer.request_id, told)
        if answer.refusal:
            raise messages.Refusal(f"{self.meter.model} refused an idea of class {self.kind} ({answer.refusal})")
        self.calls.append(number)
        if answer.stopped == "max_tokens":
            message = f"the answer was cut off at {self.output_tokens} tokens; expected a shorter one"
            raise ProposalError(State.BAD_DIFF, message)
        if answer.stopped == "model_context_window_exceeded":
            raise messages.Overflow("the answer outgrew the model's context")
        if answer.text.strip():
            self.turns.append({"role": "assistant", "content": answer.content})
        return json_object(answer.text)

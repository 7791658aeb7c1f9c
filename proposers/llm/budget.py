"""The budget of LLM calls: each request is reserved before it is sent and settled after, under a cap on the total."""

from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from common.errors import NeedsPerson, NoProposal, ProposerFailed
from common.lock import acquire, holder
from experiments.costs.budget import machine_dollars
from experiments.costs.llm_calls import LOCK, Calls, Outcome
from experiments.costs.prices import PRICES_DATE, Price, Tokens, price_of
from experiments.ledger.store import Ledger
from experiments.tiers import Profile


@dataclass
class CallBudget:
    """Records the calls of one process; holding the lock means that no other process has a call under way."""

    calls: Calls
    model: str
    price: Price | None
    budget_usd: float | None
    machine_dollars: float  # cost of the trials so far; the budget covers both
    lock: TextIO

    @classmethod
    def open(cls, path: Path, profile: Profile, model: str, budget_usd: float | None) -> "CallBudget":
        """Take the lock and settle what an earlier process left open.

        Raises:
            NeedsPerson: There is a budget, but no price of the model.
            ProposerFailed: Another process holds the lock.
        """
        price = price_of(model)
        if budget_usd is not None and price is None:
            raise NeedsPerson(
                f"--budget-usd {budget_usd:g}: no price of {model} in the table of {PRICES_DATE}; "
                "add it to experiments/costs/prices.py, or run without a budget"
            )
        if (lock := acquire(path.with_name(LOCK))) is None:
            other = holder(path.with_name(LOCK))
            raise ProposerFailed(f"{other} is already proposing for run {path.parent.name}; wait for it to end")
        ledger = Ledger(path)
        calls = Calls(ledger)
        calls.mark_lost()
        return cls(calls, model, price, budget_usd, machine_dollars(ledger, profile), lock)

    def reserve(self, purpose: str, kind: str, trial: int, at_most: float | None, prompt_characters: int) -> int:
        """Record a call at its worst-case cost; raise NoProposal if that exceeds the budget."""
        if self.budget_usd is not None and at_most is not None:
            spent = self.calls.spent_dollars() + self.machine_dollars
            if spent + at_most > self.budget_usd:
                raise NoProposal(
                    f"the budget of ${self.budget_usd:.2f} is used up: ${spent:.2f} are spent and the next call may "
                    f"cost ${at_most:.2f}; raise --budget-usd to go on"
                )
        return self.calls.reserve(purpose, kind, trial, self.model, at_most, prompt_characters)

    def settle(
        self, number: int, state: Outcome, tokens: Tokens, seconds: float, request_id: str, detail: str = ""
    ) -> None:
        dollars = self.price.dollars(tokens) if self.price else None
        self.calls.settle(number, state, dollars, tokens, seconds, request_id, detail)

    def lose(
        self, number: int, dollars: float | None, seconds: float, detail: str, state: Outcome = Outcome.LOST
    ) -> None:
        """Settle a request that got no answer."""
        self.calls.settle(number, state, dollars, seconds=seconds, detail=detail)

    def close(self) -> None:
        self.calls.ledger.close()
        self.lock.close()

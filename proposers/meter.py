"""The money of one question: a reservation before each request, its settlement after, and a cap that stops cleanly."""

from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from data.errors import NeedsPerson, NoProposal, ProposerFailed
from experiments.calls import LOCK, Calls, Outcome
from experiments.ledger import Ledger
from experiments.lock import holder, take
from experiments.prices import PRICES_DATE, Price, Tokens, price_of
from experiments.spending import machine_dollars
from experiments.tiers import Profile


@dataclass
class Meter:
    """Books the calls of one process; the lock says that nobody else's call is under way."""

    calls: Calls
    model: str
    price: Price | None
    budget_usd: float | None
    machine_dollars: float  # what trials have cost: the budget is one for both
    lock: TextIO

    @classmethod
    def open(cls, path: Path, profile: Profile, model: str, budget_usd: float | None) -> "Meter":
        """Raises NeedsPerson where a budget cannot be kept, ProposerFailed where another process is asking."""
        price = price_of(model)
        if budget_usd is not None and price is None:
            raise NeedsPerson(
                f"--budget-usd {budget_usd:g}: no price of {model} in the table of {PRICES_DATE}; "
                "add it to experiments/prices.py, or run without a budget"
            )
        if (lock := take(path.with_name(LOCK))) is None:
            other = holder(path.with_name(LOCK))
            raise ProposerFailed(f"{other} is asking for run {path.parent.name}; wait for it to end")
        ledger = Ledger(path)
        calls = Calls(ledger)
        calls.settle_lost()
        return cls(calls, model, price, budget_usd, machine_dollars(ledger, profile), lock)

    def reserve(self, purpose: str, kind: str, trial: int, at_most: float | None, prompt_characters: int) -> int:
        """Book the worst case; raises NoProposal if the budget does not hold it."""
        if self.budget_usd is not None and at_most is not None:
            spent = self.calls.spent_dollars() + self.machine_dollars
            if spent + at_most > self.budget_usd:
                raise NoProposal(
                    f"the budget of ${self.budget_usd:.2f} is used up: ${spent:.2f} are spent and the next call may "
                    f"cost ${at_most:.2f}; a higher --budget-usd goes on"
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
        """A request without an answer."""
        self.calls.settle(number, state, dollars, seconds=seconds, detail=detail)

    def close(self) -> None:
        self.calls.ledger.close()
        self.lock.close()

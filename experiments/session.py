"""One evening's order: how many trials and hours, counted across restarts, and how often it was started in vain."""

import json
import time
from dataclasses import asdict, dataclass

from data.errors import CaddieError
from experiments.ledger import Ledger

STARTS = 20  # without a settled trial between them: about an hour of pauses
LONGEST_PAUSE_SECONDS = 300


@dataclass
class Session:
    """What the ledger remembers of the order under way; `name` is one call of loop.sh."""

    name: str
    started: float  # seconds since 1970
    first: int  # number of the first trial that counts
    starts: int = 0  # of the controller since the last progress

    @classmethod
    def begin(cls, ledger: Ledger, name: str) -> "Session":
        """A new order, or the one that a crashed controller of the same name left; raises CaddieError to give up."""
        known = ledger.fact("session")
        session = cls(**json.loads(known)) if known else None
        if session is None or not name or session.name != name:
            session = cls(name, time.time(), max((row.number + 1 for row in ledger.rows()), default=0))
        session.starts += 1
        session.save(ledger)
        if session.starts > STARTS:
            path = ledger.path.with_name("loop.log")
            raise CaddieError(f"the controller was started {STARTS} times and settled no trial; {path} says why")
        return session

    @property
    def pause_seconds(self) -> int:
        """How long to wait before working on: nothing at first, then twice as long after every crash."""
        return 0 if self.starts < 2 else min(2 ** (self.starts - 2), LONGEST_PAUSE_SECONDS)

    @property
    def hours(self) -> float:
        return (time.time() - self.started) / 3600

    def settled(self, ledger: Ledger) -> int:
        """Trials of this order that use it up: neither the machine, a person nor a mistake of form ended them."""
        return sum(row.number >= self.first and row.state.finished and row.state.uses_up for row in ledger.rows())

    def progress(self, ledger: Ledger) -> None:
        """A trial has settled, or the baseline has another seed: whatever crashed before is overcome."""
        self.starts = 1
        self.save(ledger)

    def save(self, ledger: Ledger) -> None:
        ledger.set_fact("session", json.dumps(asdict(self)))

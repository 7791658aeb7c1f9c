"""One evening's order: how many trials and hours, counted across restarts, and how often it was started in vain."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from data.errors import CaddieError
from experiments.ledger import Ledger

BOOT = Path("/proc/sys/kernel/random/boot_id")
STARTS = 20  # without a settled trial between them: about an hour of pauses
LONGEST_PAUSE_SECONDS = 300


@dataclass
class Session:
    """What the ledger remembers of the order under way; `name` is one call of loop.sh."""

    name: str
    first: int  # number of the first trial that counts
    starts: int = 0  # of the controller since the last progress
    worked_seconds: float = 0.0  # until it was saved last
    boot: str = ""  # of the machine that saved it
    saved_at: float = 0.0  # seconds since that boot, those of sleep included: no clock that anybody can set

    @classmethod
    def begin(cls, ledger: Ledger, name: str) -> "Session":
        """A new order, or the one that a crashed controller of the same name left; raises CaddieError to give up."""
        known = ledger.fact("session")
        session = cls(**json.loads(known)) if known and '"boot"' in known else None  # an older one begins anew
        if session is None or not name or session.name != name:
            session = cls(name, max((row.number + 1 for row in ledger.rows()), default=0))
        if session.boot != boot():  # how long the machine was off is nobody's work
            session.boot, session.saved_at = boot(), since_boot()
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
        return (self.worked_seconds + since_boot() - self.saved_at) / 3600

    def settled(self, ledger: Ledger) -> int:
        """Trials of this order that use it up: neither the machine, a person nor a mistake of form ended them."""
        return sum(row.number >= self.first and row.state.finished and row.state.uses_up for row in ledger.rows())

    def progress(self, ledger: Ledger) -> None:
        """A trial has settled, or the baseline has another seed: whatever crashed before is overcome."""
        self.starts = 1
        self.save(ledger)

    def save(self, ledger: Ledger) -> None:
        self.worked_seconds, self.saved_at = self.hours * 3600, since_boot()
        ledger.set_fact("session", json.dumps(asdict(self)))


def since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot() -> str:
    """Names this start of the machine."""
    return BOOT.read_text(encoding="ascii").strip() if BOOT.exists() else ""

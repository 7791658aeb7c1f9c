"""A session of a run: the trials and hours that were ordered, counted across restarts, and the failed starts."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from common.errors import CaddieError
from experiments.ledger.store import Ledger
from experiments.proposal.parts import PERSON, by_of

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MAX_STARTS = 20  # without a settled trial between them: about an hour of pauses
MAX_PAUSE_SECONDS = 300


@dataclass
class Session:
    """The ledger's record of the current session; `name` is one call of loop.sh."""

    name: str
    first: int  # number of the first trial that counts
    finished: bool = True  # everything that was ordered is done; in older formats nothing says otherwise
    starts: int = 0  # of the controller since the last progress
    worked_seconds: float = 0.0  # until the last save
    boot: str = ""  # id of the boot during which it was saved
    saved_at: float = 0.0  # seconds since that boot, sleep included: a clock that cannot be set

    @classmethod
    def begin(cls, ledger: Ledger, name: str, resume: bool = False) -> "Session":
        """Start a session, or continue the one of the same name that a crashed controller left.

        Args:
            ledger: The run's ledger.
            name: One call of loop.sh.
            resume: Continue the last session if it was interrupted, whatever its name.

        Raises:
            CaddieError: The controller was started MAX_STARTS times and no trial settled.
        """
        session = cls.read(ledger)
        if session and resume and not session.finished and session.name != (name or None):
            session.name, session.starts = name, 0
            session.saved_at = seconds_since_boot()  # the pause in between is no work
        elif session is None or not name or session.name != name:
            session = cls(name, max((row.number + 1 for row in ledger.rows()), default=0))
        session.finished = False
        if session.boot != boot_id():  # the time that the machine was off does not count as work
            session.boot, session.saved_at = boot_id(), seconds_since_boot()
        session.starts += 1
        session.save(ledger)
        if session.starts > MAX_STARTS:
            path = ledger.path.with_name("loop.log")
            raise CaddieError(f"the controller was started {MAX_STARTS} times and settled no trial; {path} says why")
        return session

    @classmethod
    def read(cls, ledger: Ledger) -> "Session | None":
        """Return the last session as it was saved; None if there was none, or one of an older format."""
        saved = ledger.fact("session")
        return cls(**json.loads(saved)) if saved and '"boot"' in saved else None

    @property
    def pause_seconds(self) -> int:
        """The time to wait before continuing: nothing at first, then twice as long after every crash."""
        return 0 if self.starts < 2 else min(2 ** (self.starts - 2), MAX_PAUSE_SECONDS)

    @property
    def hours(self) -> float:
        return (self.worked_seconds + seconds_since_boot() - self.saved_at) / 3600

    def settled(self, ledger: Ledger) -> int:
        """Count the trials that this session has used up.

        Infrastructure failures, stops, bad diffs and what a person asked for on the way do not count.
        """
        rows = [row for row in ledger.rows() if row.number >= self.first]
        return sum(row.state.finished and row.state.counts_as_trial and by_of(row.proposal) != PERSON for row in rows)

    def finish(self, ledger: Ledger) -> None:
        """Record that everything that was ordered is done."""
        self.finished = True
        self.save(ledger)

    def record_progress(self, ledger: Ledger) -> None:
        """Reset the count of starts: a trial has settled or the baseline has another seed, so the crashes are over."""
        self.starts = 1
        self.save(ledger)

    def save(self, ledger: Ledger) -> None:
        self.worked_seconds, self.saved_at = self.hours * 3600, seconds_since_boot()
        ledger.set_fact("session", json.dumps(asdict(self)))


def left(ledger: Ledger, trials: int, hours: float) -> str:
    """Return in words what an interrupted session still has to do; empty if it is finished."""
    session = Session.read(ledger)
    if session is None or session.finished:
        return ""
    return (
        f"{max(trials - session.settled(ledger), 0)} of {trials} trials and "
        f"{max(hours - session.worked_seconds / 3600, 0):.1f} of {hours:g} hours are left"
    )


def seconds_since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return the id that the kernel gave to this boot; empty if it has none."""
    return BOOT_ID.read_text(encoding="ascii").strip() if BOOT_ID.exists() else ""

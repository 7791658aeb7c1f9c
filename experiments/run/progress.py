"""The stage that a run is in, recorded when it starts, so that other processes can show it."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from common import lock
from experiments.ledger.store import Ledger

FACT = "progress"


@dataclass(frozen=True)
class Progress:
    """The stage that a trial is in, such as `measure, seed 2 of 3`, and when it began (UTC)."""

    trial: int
    title: str
    stage: str
    began_at: str

    @property
    def minutes(self) -> float:
        """Minutes since the stage began."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.began_at)).total_seconds() / 60


def save(ledger: Ledger, trial: int, title: str, stage: str) -> None:
    """Record the stage that begins."""
    progress = Progress(trial, title, stage, datetime.now(UTC).isoformat(timespec="seconds"))
    ledger.set_fact(FACT, json.dumps(asdict(progress)))


def clear(ledger: Ledger) -> None:
    """Record that the stage has ended."""
    ledger.set_fact(FACT, "")


def current(ledger: Ledger) -> Progress | None:
    """Return the stage that a run is in; None if no process has the run open."""
    saved = ledger.fact(FACT)
    return Progress(**json.loads(saved)) if saved and lock.is_held(ledger.path.with_name("lock")) else None

"""All runs of a repository, each in a line: its state, what it gained, what it cost, and its room on disk."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from common import lock
from common.errors import CaddieError
from common.state import State
from common.text import one_line
from experiments.analysis.gains import Gain, total
from experiments.costs.budget import machine_dollars
from experiments.costs.llm_calls import Calls
from experiments.ledger.store import Ledger, contains_run
from experiments.run.machine import profile_of


@dataclass(frozen=True)
class Overview:
    """A run in a line; `problem` says why the rest is missing."""

    name: str
    profile: str = ""
    running: bool = False
    trials: int = 0
    kept: int = 0
    gain: Gain | None = None
    dollars: float = 0.0
    last_at: str = ""  # UTC, of the last trial that ended
    problem: str = ""


def overviews(root: Path) -> Iterator[Overview]:
    """Yield every run below trials/, the one that ended a trial last first; without its room on disk."""
    found = [each for path in (root.resolve() / "trials").glob("*/ledger.sqlite") if (each := overview(path))]
    yield from sorted(found, key=lambda each: each.last_at, reverse=True)


def overview(path: Path) -> Overview | None:
    """Return the overview of the run with this ledger; None if no run has begun in it."""
    name = path.parent.name
    try:
        if not contains_run(path):
            return None
        with closing(Ledger(path)) as ledger:
            profile, rows = profile_of(ledger), ledger.rows()
            return Overview(
                name=name,
                profile=one_line(ledger.fact("profile") or "", 40),
                running=lock.is_held(path.with_name("lock")),
                trials=sum(row.state.counts_as_trial for row in rows if row.state.finished),
                kept=sum(row.state.is_kept and row.state is not State.BASELINE for row in rows),
                gain=total(ledger, profile.tier),
                dollars=machine_dollars(ledger, profile) + Calls(ledger).spent_dollars(),
                last_at=max((row.settled_at or "" for row in rows), default=""),
            )
    except CaddieError as error:
        return Overview(name, problem=one_line(str(error), 200))


def disk_bytes(folder: Path) -> int:
    """Return the room that a folder takes on disk; files that vanish meanwhile do not count."""
    total_bytes = 0
    for path in folder.rglob("*"):
        try:
            total_bytes += path.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total_bytes

"""What doctor is asked, and the lines it answers with."""

from dataclasses import dataclass
from pathlib import Path

from experiments.tiers import Profile

GOOD, NOTE, BAD = "ok", "note", "bad"


@dataclass(frozen=True)
class Order:
    """The night that is asked for."""

    root: Path
    run: str
    name: str  # of the profile
    profile: Profile
    proposer: str
    command: tuple[str, ...]
    push: str
    trials: int
    hours: float
    level: str | None = None
    model: str = ""
    budget_usd: float | None = None
    unsafe: bool = False
    show: tuple[Path, ...] = ()
    passed: tuple[str, ...] = ()
    script: Path | None = None


@dataclass(frozen=True)
class Line:
    """One thing that was looked at."""

    what: str
    state: str
    found: str
    needed: str
    type_this: str = ""


def judged(what: str, good: bool, found: str, needed: str, type_this: str) -> Line:
    return Line(what, GOOD if good else BAD, found, needed, "" if good else type_this)

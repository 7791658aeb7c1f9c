"""The options of one call of loop.sh: how long, on which machine, with which proposer."""

from dataclasses import dataclass, field
from pathlib import Path

from common.errors import CaddieError
from common.options import option
from common.text import one_line
from experiments.proposal.options import ProposerOptions
from experiments.tiers import PROFILES, Profile


@dataclass(frozen=True)
class RunRequest:
    """The options of `run`, which `doctor` takes too."""

    trials: int = option(3, "stop after this many settled trials", minimum=0)
    hours: float = option(12.0, "stop after this many hours", minimum=0.0)
    run: str = option("demo", "the name of the run; an existing run continues where it stopped")
    profile: str = option("pocket", "the machine: " + ", ".join(PROFILES))
    push: str = option("", "git remote (name or URL) that gets every result")
    level: str | None = option(None, "sandbox level; default: the best this machine offers")
    unsafe: bool = option(False, "allow a GPU run in isolation that leaks more than the goal")
    session: str = option("", "set by loop.sh: restarts of one call share it", hidden=True)
    root: Path = option(Path(), "the repository that holds base/")
    proposer: ProposerOptions = field(default_factory=ProposerOptions)

    @property
    def machine(self) -> Profile:
        """The profile of the machine; raises CaddieError for an unknown one."""
        if self.profile not in PROFILES:
            raise CaddieError(f"got profile {one_line(self.profile, 60)!r}, expected one of {', '.join(PROFILES)}")
        return PROFILES[self.profile]

"""The bench: everything a trial needs that does not change from one to the next."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import TextIO

from data.corpus import Corpus
from experiments.job import Runner
from experiments.ledger import Ledger, Taken
from experiments.tiers import Tier
from experiments.workspace import Workspace
from preflight.text import one_line

WORK = "work"  # below the run: measurements under way


def measured_in(run_folder: Path, number: int, one: Taken) -> Path:
    """Where a measurement of trial `number` stands: below the trial that asked for it, which is cleared if it is lost.

    Its name says nothing, since the program can read it; before names were random it was the tier and the seed.
    """
    asked_by = number if one.fresh_for is None else one.fresh_for
    earlier = f"{one.tier}_{one.measured.seed}{'' if asked_by == number else '_incumbent'}"
    return run_folder / f"{asked_by:04d}" / (one.folder or earlier)


@dataclass(frozen=True)
class Bench:
    """Everything a trial needs that does not change from one to the next."""

    run: str
    folder: Path  # trials/<run>
    lock: TextIO  # one controller per run
    workspace: Workspace
    ledger: Ledger
    profile: str
    tier: Tier
    proxy: Tier | None
    corpus: Corpus
    runner: Runner
    level: str
    announce: Callable[[int, str, str], None]  # trial, title, stage

    def close(self) -> None:
        """Let another controller have the run."""
        self.ledger.close()
        self.lock.close()

    def trial_folder(self, number: int) -> Path:
        return self.folder / f"{number:04d}"

    def work_folder(self) -> Path:
        """Where a measurement runs: a path that tells no program whose it is, which trial this is, or what for."""
        return self.folder / WORK / f"m_{token_hex(8)}"

    def measured_in(self, number: int, one: Taken) -> Path:
        return measured_in(self.folder, number, one)

    def intent(self, title: str, kind: str, parent: str, **columns: object) -> int:
        """A row for what is about to be tried."""
        return self.ledger.begin(
            at_least=1 + max(self.workspace.trial_branches(), default=-1),
            title=one_line(title),
            kind=kind,
            parent=parent,
            profile=self.profile,
            tier=self.tier.name,
            sandbox_level=self.level,
            trials_can_read_text=self.corpus.manifest.trials_can_read_text,
            **columns,
        )

    @contextmanager
    def stage(self, number: int, title: str, name: str) -> Iterator[None]:
        """Announce and time one stage of a trial."""
        self.announce(number, title, name)
        started = time.monotonic()
        try:
            yield
        finally:
            self.ledger.add_stage(number, name, time.monotonic() - started)

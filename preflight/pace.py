"""What a step of training costs beside another program's: both train on made-up tokens at the same time.

CPU seconds of equal work differ by a tenth and more from one hour to the next on a shared machine; two runs at once
meet the same machine, and their ratio holds within a few hundredths (dev/benchmarks/pace.md). Nothing here needs to be
believed: a program that makes less of itself in a short run gets more steps, and meets the hard stop of the real one.
"""

from dataclasses import dataclass
from pathlib import Path
from secrets import randbelow

import numpy as np

from data.corpus import Corpus
from data.errors import SandboxError
from data.shards import Tokens, read_shard
from preflight import smoke
from preflight.phases import Candidate, require
from preflight.sandbox import Outcome

SHORT, LONG = 3, 30  # steps of two runs: what they have in common is no step


@dataclass(frozen=True)
class Cost:
    """CPU seconds of a training run: set-up, a step, and what comes once between the data and the end."""

    setup_seconds: float
    step_seconds: float
    fixed_seconds: float

    @classmethod
    def of(cls, short: Outcome, long: Outcome) -> "Cost":
        """From runs of SHORT and of LONG steps."""
        step = max(long.cpu_seconds - short.cpu_seconds, 0.0) / (LONG - SHORT)
        setup = (short.setup_cpu_seconds + long.setup_cpu_seconds) / 2
        return cls(setup, step, max(short.cpu_seconds - SHORT * step, 0.0))

    def share(self, steps: int, beside: "Cost", their_steps: int) -> float:
        """CPU seconds of so many steps over the other's of so many; set-up beyond the other's counts as training."""
        more_setup = max(self.setup_seconds - beside.setup_seconds, 0.0)
        mine = steps * self.step_seconds + self.fixed_seconds + more_setup
        return mine / (their_steps * beside.step_seconds + beside.fixed_seconds)


def costs(candidate: Candidate, beside: Candidate, corpus: Corpus, folder: Path) -> tuple[Cost, Cost]:
    """What both cost: the short runs at the same time, then the long ones.

    Raises Refused for the candidate, SandboxError where it is the other one that fails or a step takes no time at all.
    """
    stream = made_up(corpus, smoke.TRAIN_BATCHES * smoke.batch_tokens(candidate.target) + 1)
    seed = 1 + randbelow(1 << 30)
    found = []
    for steps in (SHORT, LONG):
        jobs = [
            smoke.training(program, corpus, folder / f"{name}_{steps}", stream, seed, steps)
            for name, program in (("candidate", candidate), ("beside", beside))
        ]
        outcomes = smoke.side_by_side(jobs)
        require(jobs[0], outcomes[0], "train")
        if not outcomes[1].ok:
            ended = f"exit status {outcomes[1].status} {outcomes[1].reason}".strip()
            raise SandboxError(f"the baseline's {steps} steps beside a candidate's ended with {ended}")
        found.append(outcomes)
    mine, theirs = (Cost.of(short, long) for short, long in zip(*found, strict=True))
    if theirs.step_seconds <= 0:
        raise SandboxError(f"got {LONG} steps of the baseline in no more CPU seconds than {SHORT}, expected more")
    return mine, theirs


def made_up(corpus: Corpus, count: int) -> Tokens:
    """Tokens of the training text's frequencies and nothing else of it, drawn one by one."""
    return np.random.default_rng().choice(read_shard(corpus.shards("train")[0]), count)

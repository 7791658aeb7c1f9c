"""Cost of a training step relative to another program's, measured by training both on random tokens at the same time.

On a shared machine the CPU seconds of equal work differ by a tenth or more from one hour to the next. Two concurrent
runs see the same load, and their ratio is stable within a few hundredths (dev/benchmarks/step_cost.md). The measurement
need not be trusted: a program that runs faster in the short run than in the real one is granted more steps, and then
hits the hard limit of the real run.
"""

from dataclasses import dataclass
from pathlib import Path
from secrets import randbelow

import numpy as np

from common.errors import SandboxError
from data.corpus import Corpus
from data.shards import Tokens, read_shard
from preflight import smoke
from preflight.candidate.candidate import Candidate, raise_for_outcome
from preflight.sandbox.job import Outcome

SHORT, LONG = 3, 30  # steps of two runs; the difference of their costs is that of the steps alone


@dataclass(frozen=True)
class Cost:
    """CPU seconds of a training run: set-up, one step, and what is spent once after the data is released."""

    setup_seconds: float
    step_seconds: float
    fixed_seconds: float

    @classmethod
    def from_outcomes(cls, short: Outcome, long: Outcome) -> "Cost":
        """Derive the cost from runs of SHORT and of LONG steps."""
        step = max(long.cpu_seconds - short.cpu_seconds, 0.0) / (LONG - SHORT)
        setup = (short.setup_cpu_seconds + long.setup_cpu_seconds) / 2
        return cls(setup, step, max(short.cpu_seconds - SHORT * step, 0.0))

    def relative_cost(self, steps: int, baseline: "Cost", baseline_steps: int) -> float:
        """Return the cost of `steps` over that of `baseline_steps`; set-up beyond the baseline's counts as training."""
        more_setup = max(self.setup_seconds - baseline.setup_seconds, 0.0)
        own_seconds = steps * self.step_seconds + self.fixed_seconds + more_setup
        return own_seconds / (baseline_steps * baseline.step_seconds + baseline.fixed_seconds)


def measure_costs(candidate: Candidate, baseline: Candidate, corpus: Corpus, folder: Path) -> tuple[Cost, Cost]:
    """Measure both programs: their short runs at the same time, then their long ones.

    Raises:
        Refused: The candidate failed.
        SandboxError: The baseline failed, or its steps took no measurable time.
    """
    stream = random_tokens(corpus, smoke.TRAIN_BATCHES * smoke.batch_tokens(candidate.target) + 1)
    seed = 1 + randbelow(1 << 30)
    rounds = []
    for steps in (SHORT, LONG):
        jobs = [
            smoke.training_job(program, corpus, folder / f"{name}_{steps}", stream, seed, steps)
            for name, program in (("candidate", candidate), ("baseline", baseline))
        ]
        outcomes = smoke.run_concurrently(jobs)
        raise_for_outcome(jobs[0], outcomes[0], "train")
        if not outcomes[1].ok:
            ended = f"exit status {outcomes[1].status} {outcomes[1].reason}".strip()
            raise SandboxError(f"the baseline's {steps} steps, run alongside a candidate's, ended with {ended}")
        rounds.append(outcomes)
    candidate_cost, baseline_cost = (Cost.from_outcomes(short, long) for short, long in zip(*rounds, strict=True))
    if baseline_cost.step_seconds <= 0:
        raise SandboxError(f"got {LONG} steps of the baseline in no more CPU seconds than {SHORT}, expected more")
    return candidate_cost, baseline_cost


def step_wall_seconds(candidate: Candidate, corpus: Corpus, folder: Path) -> float:
    """Return the wall seconds of one training step, on this machine and under its load.

    Raises:
        Refused: The candidate failed.
    """
    stream, seed = random_tokens(corpus, smoke.TRAIN_BATCHES * smoke.batch_tokens(candidate.target) + 1), 1
    seconds = []
    for steps in (SHORT, LONG):
        job = smoke.training_job(candidate, corpus, folder / f"steps_{steps}", stream, seed, steps)
        (outcome,) = smoke.run_concurrently([job])
        raise_for_outcome(job, outcome, "train")
        seconds.append(outcome.wall_seconds)
    return max(seconds[1] - seconds[0], 1e-3) / (LONG - SHORT)


def random_tokens(corpus: Corpus, count: int) -> Tokens:
    """Draw tokens independently with the training text's frequencies; nothing else of the text is in them."""
    return np.random.default_rng().choice(read_shard(corpus.shards("train")[0]), count)

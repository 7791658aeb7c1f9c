"""A study of each technique and preset of base/ alone: does it pass a smoke run, and how does it change the score?

The techniques are base's own table (`describe`): knobs that switch each one on. They reach the program as environment
values that override the preset, so all arms share one bundle, and every arm is a foreign program like any candidate.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from threading import get_ident
from time import monotonic
from typing import Any, TypeVar

import numpy as np

from common.errors import CaddieError, Refused
from common.limits import ARTIFACT_BYTES
from data.byte_table import bits_per_byte
from data.corpus import Corpus
from experiments.judge.noise import Paired, paired
from preflight import smoke
from preflight.candidate import packing
from preflight.candidate.candidate import Candidate, raise_for_outcome
from preflight.candidate.describe import Description, describe, with_knobs
from preflight.candidate.launch import LaunchConfig
from preflight.sandbox.cleanup import remove_tree
from preflight.sandbox.job import Limits, collect_output
from preflight.sandbox.start import run
from preflight.scoring.protocol import first_pass, scoring_session

LIMITS = Limits(wall_seconds=1200, cpu_seconds=1200)
LARGEST_BLOCK = 16_384
Result = TypeVar("Result")
CONTROL = "preset"  # the arm that all others are compared with
WORKERS = 2  # arms at a time, a thread each


@dataclass(frozen=True)
class Arm:
    """One variant and the configuration that it runs with."""

    name: str
    target: LaunchConfig


@dataclass(frozen=True)
class Sample:
    """One arm trained and scored with one seed; a line of JSON in the samples' file."""

    arm: str
    seed: int
    val_bpb: float
    train_cpu_seconds: float
    parameters: int


@dataclass(frozen=True)
class Row:
    """One arm compared with the control, over their shared seeds."""

    arm: str
    difference: Paired
    time_ratio: float
    more_parameters: int


@dataclass(frozen=True)
class TechniqueStudy:
    """One bundle and the corpus, sandbox level and scratch folder that its arms run with.

    Example:
        >>> study = TechniqueStudy(program, target, corpus, Path(scratch), "namespace")
        >>> techniques, presets = study.arms()
        >>> samples = list(study.measure(techniques, range(1, 6), steps=150, minutes=58.0, store=path))
        >>> print(markdown_table(paired_rows(samples)))
    """

    program: Path
    target: LaunchConfig
    corpus: Corpus
    folder: Path
    level: str

    def arms(self) -> tuple[list[Arm], list[Arm]]:
        """Return the techniques on the target's preset, and the presets of its width, as the program lists them."""
        description = self.describe(self.target, "--knobs")
        names = {knob.name for knob in description.knobs}
        techniques = [Arm(name, with_knobs(self.target, on, names)) for name, on in description.techniques.items()]
        presets = [name for name in description.presets if name.endswith("_" + self.target.preset)]
        if twice := description.techniques.keys() & {CONTROL, self.target.preset, *presets}:
            raise CaddieError(f"techniques: {sorted(twice)} are names of presets; choose others")
        roomy = replace(self.target, cap_bytes=ARTIFACT_BYTES)
        return techniques, [Arm(name, replace(roomy, preset=name)) for name in [self.target.preset, *presets]]

    def describe(self, target: LaunchConfig, *arguments: str) -> Description:
        """Return the program's description of itself under `target`."""
        candidate = Candidate(self.program, target, self.level)
        return describe(candidate, self.folder / f"describe-{get_ident()}", LIMITS, *arguments)

    def validate(self, arms: list[Arm]) -> Iterator[tuple[Arm, str, float]]:
        """Yield each arm with the problem of its smoke run ("" = none) and its seconds, in the order they finish."""

        def smoke_run(arm: Arm) -> tuple[Arm, str, float]:
            started, work, problem = monotonic(), self.folder / arm.name, ""
            candidate = Candidate(self.program, arm.target, self.level)
            try:
                (weights,) = smoke.train(candidate, self.corpus, work, (1,))
                smoke.score_and_audit(candidate, self.corpus, work, smoke.pack(candidate, work, weights))
            except Refused as refusal:
                problem = f"{refusal.verdict}: {refusal}"
            finally:
                remove_tree(work)
            return arm, problem, monotonic() - started

        yield from run_parallel(smoke_run, [(arm,) for arm in arms])

    def measure(self, arms: list[Arm], seeds: range, steps: int, minutes: float, store: Path) -> Iterator[Sample]:
        """Measure the preset and every arm with every seed that `store` lacks, seed by seed.

        Going by seed, an early end leaves whole pairs.

        Raises:
            CaddieError: An arm failed.
        """
        arms = [Arm(CONTROL, self.target), *arms]
        before, deadline = read_samples(store), monotonic() + 60 * minutes
        have = {(sample.arm, sample.seed) for sample in before}
        parameters = {sample.arm: sample.parameters for sample in before}

        def sample_of(arm: Arm, seed: int) -> Sample | None:
            if monotonic() > deadline:
                return None
            if arm.name not in parameters:
                parameters[arm.name] = self.describe(arm.target).parameters.get("total", 0)
            try:
                return Sample(arm.name, seed, *self.train_and_score(arm, seed, steps), parameters[arm.name])
            except Refused as refusal:
                raise CaddieError(f"{arm.name}, seed {seed}: {refusal}") from refusal

        todo = [(arm, seed) for seed in seeds for arm in arms if (arm.name, seed) not in have]
        with store.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(sample)) + "\n" for sample in before)
            for sample in filter(None, run_parallel(sample_of, todo)):
                print(json.dumps(asdict(sample)), file=file, flush=True)
                yield sample

    def train_and_score(self, arm: Arm, seed: int, steps: int) -> tuple[float, float]:
        """Return bits per byte on dev and the CPU seconds of training.

        One scoring pass without an audit is enough: no arm gains anything from tampering.
        """
        work = self.folder / f"{arm.name}-{seed}"
        environment = {**arm.target.environment, "ITERATIONS": str(steps)}
        target = replace(arm.target, environment=environment, cap_bytes=ARTIFACT_BYTES)
        candidate, tokens = Candidate(self.program, target, self.level), self.corpus.tokens("dev")
        try:
            job = candidate.train(work / "train", LIMITS, self.corpus, self.corpus.folder / "train", seed)
            outcome = run(job)
            raise_for_outcome(job, outcome, "train")
            collect_output(job.out, "weights.bin", candidate.weights_bytes, work / "weights.bin")
            folders = (work / "pack", work / "unpack")
            packing.pack(candidate, folders, LIMITS, work / "weights.bin", work / "artifact.bin")
            job = candidate.score(work / "score", LIMITS, work / "artifact.bin", self.corpus.tokenizer)
            with scoring_session(job, self.corpus.manifest.vocab_size, LIMITS.wall_seconds) as (scorer, _):
                losses = first_pass(scorer, tokens, np.random.default_rng(), LARGEST_BLOCK)
        finally:
            remove_tree(work)
        nats = float(losses[1:].astype(np.float64).sum())
        return bits_per_byte(nats, int(self.corpus.byte_table().target_bytes(tokens).sum())), outcome.cpu_seconds


def run_parallel(function: Callable[..., Result], calls: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
    """Yield results as they finish, WORKERS at a time; closed early (Ctrl-C), it starts no further call."""
    pool = ThreadPoolExecutor(WORKERS)
    try:
        for done in as_completed([pool.submit(function, *call) for call in calls]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def paired_rows(samples: list[Sample]) -> list[Row]:
    """Return every arm but the control, paired by seed, best first; an arm needs two shared seeds."""
    by_arm: dict[str, dict[int, Sample]] = {}
    for sample in samples:
        by_arm.setdefault(sample.arm, {})[sample.seed] = sample
    control = by_arm.pop(CONTROL, {})
    rows = []
    for arm, samples_by_seed in by_arm.items():
        seeds = sorted(samples_by_seed.keys() & control.keys())
        pairs = [(samples_by_seed[seed], control[seed]) for seed in seeds]
        if len(pairs) > 1:
            difference = paired([sample.val_bpb - reference.val_bpb for sample, reference in pairs])
            ratio = fmean(sample.train_cpu_seconds / reference.train_cpu_seconds for sample, reference in pairs)
            rows.append(Row(arm, difference, ratio, pairs[0][0].parameters - pairs[0][1].parameters))
    return sorted(rows, key=lambda row: row.difference.mean)


def markdown_table(rows: list[Row]) -> str:
    """Return the rows as a table for dev/benchmarks."""
    lines = ["| technique | bpb | standard error | detectable | seeds | CPU time | parameters |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        test = row.difference
        delta = f"{test.mean:+.4f}" if test.resolved else f"not resolved ({test.mean:+.4f})"
        delta = "identical" if test.mean == test.standard_error == 0.0 else delta
        lines.append(
            f"| {row.arm} | {delta} | {test.standard_error:.4f} | {test.detectable:.4f} | {test.pairs} "
            f"| {row.time_ratio:.2f} | {row.more_parameters:+,} |"
        )
    return "\n".join(lines) + "\n"


def read_samples(path: Path) -> list[Sample]:
    """Return the samples measured so far, without a last line that a power failure cut short."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [Sample(**json.loads(line)) for line in lines if line.endswith("\n")]

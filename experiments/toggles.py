"""Each technique and preset of base/ by itself: does it pass a smoke run, and what does it do to the score?

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

from data.byte_table import bits_per_byte
from data.corpus import Corpus
from data.errors import CaddieError, Refused
from experiments.account import Account, described, with_knobs
from experiments.judge import Paired, paired
from preflight import packing, smoke
from preflight.conversation import first_pass, hold
from preflight.limits import ARTIFACT_BYTES
from preflight.phases import Candidate, Target, require
from preflight.sandbox import Limits, run, take
from preflight.sandbox.cleanup import discard

LIMITS = Limits(wall_seconds=1200, cpu_seconds=1200)
LARGEST_BLOCK = 16_384
Result = TypeVar("Result")
CONTROL = "preset"  # the arm that all others are held against
WORKERS = 2  # arms at once, a thread each


@dataclass(frozen=True)
class Arm:
    """One variant and what it is run as."""

    name: str
    target: Target


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
    """One arm against the control, over the seeds that both have."""

    arm: str
    difference: Paired
    time_ratio: float
    more_parameters: int


@dataclass(frozen=True)
class Toggles:
    """One bundle and where its arms run; `folder` is scratch."""

    program: Path
    target: Target
    corpus: Corpus
    folder: Path
    level: str

    def arms(self) -> tuple[list[Arm], list[Arm]]:
        """Techniques alone on the target's preset, and the presets of its width, by the program's own account."""
        found = self.described(self.target, "--knobs")
        known = {knob.name for knob in found.knobs}
        techniques = [Arm(name, with_knobs(self.target, on, known)) for name, on in found.techniques.items()]
        presets = [name for name in found.presets if name.endswith("_" + self.target.preset)]
        if twice := found.techniques.keys() & {CONTROL, self.target.preset, *presets}:
            raise CaddieError(f"techniques: {sorted(twice)} are names of presets; choose others")
        roomy = replace(self.target, cap_bytes=ARTIFACT_BYTES)
        return techniques, [Arm(name, replace(roomy, preset=name)) for name in [self.target.preset, *presets]]

    def described(self, target: Target, *arguments: str) -> Account:
        candidate = Candidate(self.program, target, self.level)
        return described(candidate, self.folder / f"describe-{get_ident()}", LIMITS, *arguments)

    def validate(self, arms: list[Arm]) -> Iterator[tuple[Arm, str, float]]:
        """One smoke run per arm, with what is wrong ("" = nothing) and its seconds, as they finish."""

        def one(arm: Arm) -> tuple[Arm, str, float]:
            started, work, wrong = monotonic(), self.folder / arm.name, ""
            candidate = Candidate(self.program, arm.target, self.level)
            try:
                (weights,) = smoke.train(candidate, self.corpus, work, (1,))
                smoke.converse(candidate, self.corpus, work, smoke.pack(candidate, work, weights))
            except Refused as refusal:
                wrong = f"{refusal.verdict}: {refusal}"
            finally:
                discard(work)
            return arm, wrong, monotonic() - started

        yield from side_by_side(one, [(arm,) for arm in arms])

    def measure(self, arms: list[Arm], seeds: range, steps: int, minutes: float, store: Path) -> Iterator[Sample]:
        """The preset and every arm with every seed that `store` lacks; by seed, so an early end leaves whole pairs."""
        arms = [Arm(CONTROL, self.target), *arms]
        before, deadline = stored(store), monotonic() + 60 * minutes
        have = {(sample.arm, sample.seed) for sample in before}
        parameters = {sample.arm: sample.parameters for sample in before}

        def one(arm: Arm, seed: int) -> Sample | None:
            if monotonic() > deadline:
                return None
            if arm.name not in parameters:
                parameters[arm.name] = self.described(arm.target).parameters.get("total", 0)
            try:
                return Sample(arm.name, seed, *self.trained(arm, seed, steps), parameters[arm.name])
            except Refused as refusal:
                raise CaddieError(f"{arm.name}, seed {seed}: {refusal}") from refusal

        todo = [(arm, seed) for seed in seeds for arm in arms if (arm.name, seed) not in have]
        with store.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(sample)) + "\n" for sample in before)
            for sample in filter(None, side_by_side(one, todo)):
                print(json.dumps(asdict(sample)), file=file, flush=True)
                yield sample

    def trained(self, arm: Arm, seed: int, steps: int) -> tuple[float, float]:
        """Bits per byte on dev and CPU seconds of training; one conversation will do where nobody gains by a lie."""
        work = self.folder / f"{arm.name}-{seed}"
        environment = {**arm.target.environment, "ITERATIONS": str(steps)}
        target = replace(arm.target, environment=environment, cap_bytes=ARTIFACT_BYTES)
        candidate, tokens = Candidate(self.program, target, self.level), self.corpus.tokens("dev")
        try:
            job = candidate.train(work / "train", LIMITS, self.corpus, self.corpus.folder / "train", seed)
            trained = run(job)
            require(job, trained, "train")
            take(job.out, "weights.bin", candidate.weights_bytes, work / "weights.bin")
            folders = (work / "pack", work / "unpack")
            packing.pack(candidate, folders, LIMITS, work / "weights.bin", work / "artifact.bin")
            job = candidate.score(work / "score", LIMITS, work / "artifact.bin", self.corpus.tokenizer)
            with hold(job, self.corpus.manifest.vocab_size, LIMITS.wall_seconds) as (conversation, _):
                losses = first_pass(conversation, tokens, np.random.default_rng(), LARGEST_BLOCK)
        finally:
            discard(work)
        nats = float(losses[1:].astype(np.float64).sum())
        return bits_per_byte(nats, int(self.corpus.byte_table().target_bytes(tokens).sum())), trained.cpu_seconds


def side_by_side(work: Callable[..., Result], calls: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
    """Results as they come, WORKERS at once; left early (Ctrl-C), it ends what runs and starts nothing more."""
    pool = ThreadPoolExecutor(WORKERS)
    try:
        for done in as_completed([pool.submit(work, *call) for call in calls]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def rows(samples: list[Sample]) -> list[Row]:
    """Every arm but the control, paired by seed, best first; an arm needs two shared seeds."""
    by_arm: dict[str, dict[int, Sample]] = {}
    for sample in samples:
        by_arm.setdefault(sample.arm, {})[sample.seed] = sample
    control = by_arm.pop(CONTROL, {})
    found = []
    for arm, mine in by_arm.items():
        pairs = [(mine[seed], control[seed]) for seed in sorted(mine.keys() & control.keys())]
        if len(pairs) > 1:
            difference = paired([one.val_bpb - other.val_bpb for one, other in pairs])
            ratio = fmean(one.train_cpu_seconds / other.train_cpu_seconds for one, other in pairs)
            found.append(Row(arm, difference, ratio, pairs[0][0].parameters - pairs[0][1].parameters))
    return sorted(found, key=lambda row: row.difference.mean)


def markdown(found: list[Row]) -> str:
    """The rows as a table for dev/benchmarks."""
    lines = ["| technique | bpb | standard error | detectable | seeds | CPU time | parameters |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for row in found:
        seen = row.difference
        delta = f"{seen.mean:+.4f}" if seen.resolved else f"not resolved ({seen.mean:+.4f})"
        delta = "identical" if seen.mean == seen.standard_error == 0.0 else delta
        lines.append(
            f"| {row.arm} | {delta} | {seen.standard_error:.4f} | {seen.detectable:.4f} | {seen.pairs} "
            f"| {row.time_ratio:.2f} | {row.more_parameters:+,} |"
        )
    return "\n".join(lines) + "\n"


def stored(path: Path) -> list[Sample]:
    """The samples measured so far; a line that an end of the power cut short is no sample."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [Sample(**json.loads(line)) for line in lines if line.endswith("\n")]

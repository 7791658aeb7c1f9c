"""A finished trial's weights packed and scored again with other knobs: what would another stride, context, coder buy?

Training is the dear part of a trial and its weights are kept, so nothing of it is run again. The number is measured as
any other, in two conversations with their proof; it is noted beside the trial and decides nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

from data.corpus import Corpus
from data.errors import CaddieError
from experiments.account import described, with_knobs
from experiments.job import Measured
from experiments.referee import Score, score
from experiments.tiers import Profile, Tier
from preflight import bundle, packing
from preflight.phases import Candidate
from preflight.sandbox import Limits
from preflight.sandbox.cleanup import discard

AFTER_TRAINING = ("pack", "eval")  # sections whose knobs are read when the weights are finished
SETUP_SECONDS = 300.0
DESCRIBE_LIMITS = Limits(wall_seconds=120, cpu_seconds=120)


@dataclass(frozen=True)
class Rescored:
    """One seed's weights, as they were measured and as they are with other knobs."""

    seed: int
    before: Measured
    artifact_bytes: int
    score: Score


def rescore(
    folder: Path,
    measured: list[tuple[Measured, Path]],
    values: Mapping[str, str],
    profile: Profile,
    corpus: Corpus,
    level: str,
) -> Iterator[Rescored]:
    """Every seed of the trial in `folder` that has its weights; raises Refused, and CaddieError where none has.

    `measured` holds each measurement and where it stands.
    """
    if not measured:
        raise CaddieError(f"{folder.name} was never measured: there are no weights to score again")
    weights = [(before, place / "weights.bin") for before, place in measured]
    there = [(before, path) for before, path in weights if path.exists()]
    if not there:
        raise CaddieError(f"{weights[0][1]} is gone; run the trial again to have its weights")
    with TemporaryDirectory(prefix="rescore-", dir=folder) as scratch:
        yield from _rescore(folder / bundle.NAME, Path(scratch), there, values, profile.tier, corpus, level)


def _rescore(
    program: Path,
    scratch: Path,
    there: list[tuple[Measured, Path]],
    values: Mapping[str, str],
    tier: Tier,
    corpus: Corpus,
    level: str,
) -> Iterator[Rescored]:
    account = described(Candidate(program, tier.target, level), scratch / "describe", DESCRIBE_LIMITS, "--knobs")
    known = {knob.name for knob in account.knobs if knob.section in AFTER_TRAINING}
    candidate = Candidate(program, with_knobs(tier.target, values, known), level)
    limits = Limits(wall_seconds=SETUP_SECONDS + 2 * tier.score_wall_seconds, cpu_seconds=inf)
    for before, path in there:
        try:
            artifact = scratch / "artifact.bin"
            packing.pack(candidate, (scratch / "pack", scratch / "unpack"), limits, path, artifact)
            first, second = (
                candidate.score(scratch / token_hex(4), limits, artifact, corpus.tokenizer) for _ in range(2)
            )
            found = score(first, second, tier, corpus)
            yield Rescored(before.seed, before, program.stat().st_size + artifact.stat().st_size, found)
        finally:
            for work in [path for path in scratch.iterdir() if path.is_dir()]:
                discard(work)

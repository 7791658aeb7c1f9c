"""Rescoring of a finished trial's weights with other knobs: the effect of another stride, context or coder.

Training is the expensive part of a trial, and its weights are kept, so nothing of it is repeated. The number is
measured like any other, in two passes with an audit; it is stored as a note on the trial and decides nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

from common.errors import CaddieError
from data.corpus import Corpus
from experiments.ledger.measurement import Measurement
from experiments.runner.referee import Score, score
from experiments.tiers import Profile, Tier
from preflight.candidate import packing
from preflight.candidate.candidate import Candidate
from preflight.candidate.describe import describe, with_knobs
from preflight.sandbox.cleanup import remove_tree
from preflight.sandbox.job import Limits
from preflight.source import bundle

AFTER_TRAINING = ("pack", "eval")  # sections whose knobs are read when the weights are finished
SETUP_SECONDS = 300.0
DESCRIBE_LIMITS = Limits(wall_seconds=120, cpu_seconds=120)


@dataclass(frozen=True)
class Rescored:
    """One seed's weights, as they were measured and as they score with other knobs."""

    seed: int
    before: Measurement
    artifact_bytes: int
    score: Score


def rescore(
    folder: Path,
    measured: list[tuple[Measurement, Path]],
    values: Mapping[str, str],
    profile: Profile,
    corpus: Corpus,
    level: str,
) -> Iterator[Rescored]:
    """Rescore every seed of a trial whose weights exist.

    Args:
        folder: The folder of the trial.
        measured: Each measurement with its folder.
        values: The knobs to set, by name.
        profile: The profile of the run.
        corpus: The data.
        level: The sandbox level.

    Raises:
        CaddieError: There are no weights, or a name is not a knob of packing or scoring.
        Refused: The program failed or broke a rule.
    """
    if not measured:
        raise CaddieError(f"{folder.name} was never measured: there are no weights to score again")
    weights = [(before, measurement_folder / "weights.bin") for before, measurement_folder in measured]
    existing = [(before, path) for before, path in weights if path.exists()]
    if not existing:
        raise CaddieError(f"{weights[0][1]} is gone; run the trial again to have its weights")
    with TemporaryDirectory(prefix="rescore-", dir=folder) as scratch:
        yield from _rescore(folder / bundle.NAME, Path(scratch), existing, values, profile.tier, corpus, level)


def _rescore(
    program: Path,
    scratch: Path,
    weights: list[tuple[Measurement, Path]],
    values: Mapping[str, str],
    tier: Tier,
    corpus: Corpus,
    level: str,
) -> Iterator[Rescored]:
    account = describe(Candidate(program, tier.target, level), scratch / "describe", DESCRIBE_LIMITS, "--knobs")
    known = {knob.name for knob in account.knobs if knob.section in AFTER_TRAINING}
    candidate = Candidate(program, with_knobs(tier.target, values, known), level)
    limits = Limits(wall_seconds=SETUP_SECONDS + 2 * tier.score_wall_seconds, cpu_seconds=inf)
    for before, path in weights:
        try:
            artifact = scratch / "artifact.bin"
            packing.pack(candidate, (scratch / "pack", scratch / "unpack"), limits, path, artifact)
            first, second = (
                candidate.score(scratch / token_hex(4), limits, artifact, corpus.tokenizer) for _ in range(2)
            )
            scored = score(first, second, tier, corpus)
            yield Rescored(before.seed, before, program.stat().st_size + artifact.stat().st_size, scored)
        finally:
            for work in [path for path in scratch.iterdir() if path.is_dir()]:
                remove_tree(work)

"""Rescoring of a finished trial with other knobs of quantization, packing or scoring, without training it again.

Training is the expensive part of a trial, and what it left is kept, so nothing of it is repeated: knobs of quantization
start from its checkpoint, the others from its weights. The number is
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
from experiments.runner.job import CHECKPOINT
from experiments.runner.referee import Score, score
from experiments.tiers import Profile, Tier
from preflight.candidate import packing
from preflight.candidate.candidate import Candidate, raise_for_outcome
from preflight.candidate.describe import describe, with_knobs
from preflight.sandbox.cleanup import remove_tree
from preflight.sandbox.job import Limits, collect_output
from preflight.sandbox.start import run
from preflight.source import bundle

AFTER_TRAINING = ("pack", "eval")  # sections whose knobs are read when the weights are finished
QUANTIZATION = "quant"  # the section whose knobs are read when training is finished ...
IN_TRAINING = {  # ... but these, and the context that positions are scaled for
    "qat", "qat_start", "crown_q", "calibration", "calibration_batches", "reserve_seconds", "eval_length",
}  # fmt: skip
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
        CaddieError: There are no weights, or a name is not a knob of quantization, packing or scoring.
        Refused: The program failed or broke a rule.
    """
    if not measured:
        raise CaddieError(f"{folder.name} was never measured: there are no weights to score again")
    program, tier = folder / bundle.NAME, profile.tier
    with TemporaryDirectory(prefix="rescore-", dir=folder) as scratch:
        account = describe(
            Candidate(program, tier.target, level), Path(scratch, "describe"), DESCRIBE_LIMITS, "--knobs"
        )
        quantization = {knob.name for knob in account.knobs if knob.section == QUANTIZATION} - IN_TRAINING
        known = quantization | {knob.name for knob in account.knobs if knob.section in AFTER_TRAINING}
        candidate = Candidate(program, with_knobs(tier.target, values, known), level)
        name = CHECKPOINT if quantization & values.keys() else "weights.bin"
        files = [(before, measurement_folder / name) for before, measurement_folder in measured]
        existing = [(before, path) for before, path in files if path.exists()]
        if not existing:
            raise CaddieError(
                f"{files[0][1]} is gone; run the trial again to have it: `rerun {folder.name.lstrip('0') or 0}`"
            )
        yield from _rescore(candidate, Path(scratch), existing, tier, corpus)


def _rescore(
    candidate: Candidate, scratch: Path, files: list[tuple[Measurement, Path]], tier: Tier, corpus: Corpus
) -> Iterator[Rescored]:
    limits = Limits(wall_seconds=SETUP_SECONDS + 2 * tier.score_wall_seconds, cpu_seconds=inf)
    for before, path in files:
        try:
            artifact = scratch / "artifact.bin"
            if path.name == CHECKPOINT:
                path = _quantise(candidate, scratch, path, limits)
            packing.pack(candidate, (scratch / "pack", scratch / "unpack"), limits, path, artifact)
            first, second = (
                candidate.score(scratch / token_hex(4), limits, artifact, corpus.tokenizer) for _ in range(2)
            )
            scored = score(first, second, tier, corpus)
            yield Rescored(before.seed, before, candidate.bundle.stat().st_size + artifact.stat().st_size, scored)
        finally:
            for work in [path for path in scratch.iterdir() if path.is_dir()]:
                remove_tree(work)


def _quantise(candidate: Candidate, scratch: Path, checkpoint: Path, limits: Limits) -> Path:
    """Return the weights that a checkpoint gives with the candidate's knobs; raises Refused."""
    job = candidate.quantise(scratch / token_hex(4), limits, checkpoint)
    raise_for_outcome(job, run(job), "quantise")
    weights = scratch / "weights.bin"
    collect_output(job.out, "weights.bin", candidate.weights_bytes, weights)
    return weights

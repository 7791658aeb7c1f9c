"""Measurements on this machine: three sandboxed phases, with nothing passed between them but the store's own copies."""

import contextlib
import shutil
from pathlib import Path

from data.errors import Refused
from experiments.job import Job, Measured
from experiments.referee import score
from preflight import yardstick
from preflight.phases import Candidate, require
from preflight.sandbox import Limits, run, take

WEIGHTS_BYTES = 1 << 30
METRICS_BYTES = 1 << 22
PACK_LIMITS = Limits(wall_seconds=600, cpu_seconds=600)
SETUP_SECONDS = 300.0


class LocalRunner:
    """Runs a job here and now."""

    def measure(self, job: Job) -> Measured:
        try:
            return self._measure(job)
        finally:
            for phase in ("train", "pack", "score"):
                _archive(job.folder, phase)

    def _measure(self, job: Job) -> Measured:
        tier, budget = job.tier, job.budget
        job.folder.mkdir(parents=True, exist_ok=True)
        candidate = Candidate(job.bundle, tier.target, job.level)
        weights, artifact = job.folder / "weights.bin", job.folder / "artifact.bin"

        speed = yardstick.cpu_seconds()
        slowdown = yardstick.slowdown(speed, budget.yardstick_seconds)
        score_cpu_limit = slowdown * budget.score_cpu_seconds
        limits = Limits(tier.train_wall_seconds, slowdown * budget.train_cpu_seconds, SETUP_SECONDS)
        shards = job.corpus.folder / "train"
        training = candidate.train(job.folder / "train", limits, job.corpus, shards, job.seed)
        trained = run(training)
        require(training, trained, "train")
        take(training.out, "weights.bin", WEIGHTS_BYTES, weights)

        packing = candidate.pack(job.folder / "pack", PACK_LIMITS, weights)
        packed = run(packing)
        require(packing, packed, "pack")
        code_bytes = job.bundle.stat().st_size
        sha256 = take(packing.out, "artifact.bin", tier.target.cap_bytes - code_bytes, artifact)

        # The warden's limits are a backstop over both conversations; the referee's clock is the limit of the first.
        backstop = Limits(SETUP_SECONDS + 4 * tier.score_wall_seconds, 60 + 4 * score_cpu_limit)
        scoring = candidate.score(job.folder / "score", backstop, artifact, job.corpus.tokenizer)
        found = score(scoring, tier, job.corpus, score_cpu_limit)
        return Measured(
            seed=job.seed,
            val_bpb=found.val_bpb,
            val_nats=found.val_nats,
            code_bytes=code_bytes,
            model_bytes=artifact.stat().st_size,
            artifact_sha256=sha256,
            train_wall_seconds=trained.wall_seconds,
            train_cpu_seconds=trained.cpu_seconds,
            train_setup_seconds=trained.setup_seconds,
            pack_wall_seconds=packed.wall_seconds,
            score_wall_seconds=found.wall_seconds,
            score_cpu_seconds=found.cpu_seconds,
            proof_wall_seconds=found.proof_wall_seconds,
            yardstick_seconds=speed,
            honesty=found.honesty,
            honesty_bpb=found.honesty_bpb,
            rare_bpb=found.rare_bpb,
        )


def _archive(folder: Path, phase: str) -> None:
    """Keep a phase's log and loss curve, drop the folders that the candidate could write or see."""
    work = folder / phase
    if (work / "log.txt").exists():
        (work / "log.txt").rename(folder / f"{phase}.log")
    if phase == "train" and (work / "out").is_dir():
        with contextlib.suppress(Refused):  # a trial without a loss curve is still a trial
            take(work / "out", "metrics.jsonl", METRICS_BYTES, folder / "metrics.jsonl")
    shutil.rmtree(work, ignore_errors=True)

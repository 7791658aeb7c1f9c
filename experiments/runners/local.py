"""Measurements on this machine: three sandboxed phases, with nothing passed between them but the store's own copies."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex

import numpy as np

from data.errors import Refused
from experiments.curves import run_watched
from experiments.job import AS_THEY_ARE, LOSSES, Job, Measured
from experiments.luck import released
from experiments.referee import ScoreLimits, score
from preflight import bundle, yardstick
from preflight.phases import Candidate, require
from preflight.sandbox import Limits, run, take
from preflight.sandbox.cleanup import discard

PHASES = ("train", "pack", "score", "proof")
METRICS_BYTES = 1 << 22
PACK_SECONDS = 600.0
SETUP_SECONDS = 300.0
PROOF_FACTOR = 10.0  # the proof reads all again, in small blocks, with a forward pass for every place
SHARDS = "shards"  # below a measurement's folder: as this one gets them
MOST_NATS = 60_000.0  # float16 ends there
PLACE_SECONDS = 0.05  # most that one of many places may take; in pocket it takes 0.02


class LocalRunner:
    """Runs a job here and now."""

    def measure(self, job: Job) -> Measured:
        # A program sees its own path: one like another, whoever it is and whatever it runs for.
        folders = {phase: job.folder / token_hex(4) for phase in PHASES}
        try:
            return self._measure(job, folders)
        finally:
            (job.folder / bundle.NAME).unlink(missing_ok=True)
            discard(job.folder / SHARDS)
            for phase, work in folders.items():
                _archive(job.folder, phase, work)

    def _measure(self, job: Job, folders: Mapping[str, Path]) -> Measured:
        tier, budget = job.tier, job.budget
        job.folder.mkdir(parents=True, exist_ok=True)
        program = job.folder / bundle.NAME
        program.write_bytes(job.bundle.read_bytes())
        candidate = Candidate(program, tier.target, job.level)
        weights, artifact = job.folder / "weights.bin", job.folder / "artifact.bin"

        speed = yardstick.cpu_seconds()
        slowdown = yardstick.slowdown(speed, budget.yardstick_seconds)
        limits = Limits(
            wall_seconds=tier.train_wall_seconds,
            cpu_seconds=slowdown * budget.train_cpu_seconds,
            setup_seconds=SETUP_SECONDS,
            setup_cpu_seconds=budget.setup_cpu_seconds,
        )
        shards = job.corpus.folder / "train"
        if job.data_seed != AS_THEY_ARE:
            shards = released(job.corpus, job.folder / SHARDS, job.data_seed)
        training = candidate.train(folders["train"], limits, job.corpus, shards, job.seed)
        trained = run_watched(training, tier.steps)
        require(training, trained, "train")
        take(training.out, "weights.bin", candidate.weights_bytes, weights)

        packing = candidate.pack(folders["pack"], Limits(PACK_SECONDS, budget.pack_cpu_seconds), weights)
        packed = run(packing)
        require(packing, packed, "pack")
        code_bytes = program.stat().st_size
        sha256 = take(packing.out, "artifact.bin", tier.target.cap_bytes - code_bytes, artifact)

        # The supervisor's limits are a backstop over a whole conversation; the referee's clock limits the first.
        score_limits = ScoreLimits(budget.load_cpu_seconds, slowdown * budget.score_cpu_seconds)
        places_seconds = PLACE_SECONDS * tier.proof_places
        backstop = Limits(
            wall_seconds=SETUP_SECONDS + 2 * tier.score_wall_seconds + places_seconds,
            cpu_seconds=score_limits.load_cpu_seconds + PROOF_FACTOR * score_limits.cpu_seconds + places_seconds,
        )
        # Once and no second time, however it ends: nothing may follow a scorer that has seen held-out text.
        first, second = (
            candidate.score(folders[phase], backstop, artifact, job.corpus.tokenizer) for phase in ("score", "proof")
        )
        reference = np.load(job.reference) if job.reference else None
        found = score(first, second, tier, job.corpus, score_limits, job.whole, reference)
        np.save(job.folder / LOSSES, np.minimum(found.losses, MOST_NATS).astype(np.float16))
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
            train_setup_cpu_seconds=trained.setup_cpu_seconds,
            pack_wall_seconds=packed.wall_seconds,
            pack_cpu_seconds=packed.cpu_seconds,
            load_wall_seconds=found.load_wall_seconds,
            load_cpu_seconds=found.load_cpu_seconds,
            score_wall_seconds=found.wall_seconds,
            score_cpu_seconds=found.cpu_seconds,
            proof_wall_seconds=found.proof_wall_seconds,
            yardstick_seconds=speed,
            honesty=found.honesty,
            honesty_bpb=found.honesty_bpb,
            rare_bpb=found.rare_bpb,
            data_seed=job.data_seed,
            charge_bpb=found.charge_bpb,
        )


def _archive(folder: Path, phase: str, work: Path) -> None:
    """Keep a phase's log and loss curve, drop the folders that the candidate could write or see."""
    if (work / "log.txt").exists():
        (work / "log.txt").rename(folder / f"{phase}.log")
    if phase == "train" and (work / "out").is_dir():
        with contextlib.suppress(Refused):  # a trial without a loss curve is still a trial
            take(work / "out", "metrics.jsonl", METRICS_BYTES, folder / "metrics.jsonl")
    discard(work)

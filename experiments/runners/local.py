"""Measurements on this machine: three sandboxed phases, with nothing passed between them but the store's own copies."""

import contextlib
from collections.abc import Mapping
from math import inf
from pathlib import Path
from secrets import token_hex

import numpy as np

from data.errors import Refused
from experiments.budgets import FREE
from experiments.curves import Curve, read, run_watched
from experiments.job import AS_THEY_ARE, LOSSES, Job, Measured
from experiments.luck import released
from experiments.referee import score
from experiments.tiers import PACK_SECONDS
from preflight import bundle, packing, yardstick
from preflight.phases import Candidate, require
from preflight.sandbox import Limits, take
from preflight.sandbox.cleanup import discard

PHASES = ("train", "pack", "unpack", "score", "proof")
METRICS_BYTES = 1 << 22
SETUP_SECONDS = 300.0
PROOF_FACTOR = 10.0  # the proof reads all again, in small blocks, with a forward pass for every place
SHARDS = "shards"  # below a measurement's folder: as this one gets them
MOST_NATS = 60_000.0  # float16 ends there
PLACE_SECONDS = 0.05  # most that one of many places may take; in pocket it takes 0.02
Spent = dict[str, tuple[float, float]]  # (used, limit) of a budget, by its name


class LocalRunner:
    """Runs a job here and now."""

    def measure(self, job: Job) -> Measured:
        # A program sees its own path: one like another, whoever it is and whatever it runs for.
        folders = {phase: job.folder / token_hex(4) for phase in PHASES}
        spent: Spent = {}
        try:
            return self._measure(job, folders, spent)
        except Refused as refusal:
            refusal.spent = {**spent, **refusal.spent}
            raise
        finally:
            (job.folder / bundle.NAME).unlink(missing_ok=True)
            discard(job.folder / SHARDS)
            for phase, work in folders.items():
                _archive(job.folder, phase, work)

    def _measure(self, job: Job, folders: Mapping[str, Path], spent: Spent) -> Measured:
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
        try:
            require(training, trained, "train")
        except Refused as refusal:
            raise _with_curve(refusal, read(training.out / "metrics.jsonl"), tier.steps) from refusal
        charged = max(trained.setup_cpu_seconds - limits.setup_cpu_seconds, 0.0)
        _note(spent, "train", limits, trained.cpu_seconds + charged, trained.wall_seconds)
        if limits.cpu_seconds < inf:
            spent[FREE] = (round(trained.setup_cpu_seconds, 3), round(limits.setup_cpu_seconds, 3))
        take(training.out, "weights.bin", candidate.weights_bytes, weights)

        limits = Limits(PACK_SECONDS, tier.pack_cpu_seconds)
        both = (folders["pack"], folders["unpack"])
        packed, unpacked, sha256 = packing.pack(candidate, both, limits, weights, artifact)
        for phase, outcome in (("pack", packed), ("unpack", unpacked)):
            _note(spent, phase, limits, outcome.cpu_seconds, outcome.wall_seconds)
        code_bytes = program.stat().st_size
        spent["artifact_bytes"] = (code_bytes + artifact.stat().st_size, tier.target.cap_bytes)

        # Once and no second time, however it ends: nothing may follow a scorer that has seen held-out text.
        limits = Limits(tier.score_wall_seconds, slowdown * budget.score_cpu_seconds)
        places_seconds = PLACE_SECONDS * tier.proof_places
        backstop = Limits(
            wall_seconds=SETUP_SECONDS + 2 * tier.score_wall_seconds + places_seconds,
            cpu_seconds=PROOF_FACTOR * limits.cpu_seconds + places_seconds,
        )
        first, second = (
            candidate.score(folders[phase], its, artifact, job.corpus.tokenizer)
            for phase, its in (("score", limits), ("proof", backstop))
        )
        reference = np.load(job.reference) if job.reference else None
        found = score(first, second, tier, job.corpus, job.whole, reference)
        cpu_seconds = found.load_cpu_seconds + found.cpu_seconds
        _note(spent, "score", limits, cpu_seconds, found.load_wall_seconds + found.wall_seconds)
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
            spent=spent,
        )


def _note(spent: Spent, phase: str, limits: Limits, cpu_seconds: float, wall_seconds: float) -> None:
    """What a phase used of its budget: CPU seconds where those are limited, else wall seconds, else nothing."""
    for what, used, limit in (
        ("cpu", cpu_seconds, limits.cpu_seconds),
        ("wall", wall_seconds, limits.wall_seconds),
    ):
        if limit < inf:
            spent[f"{phase}_{what}_seconds"] = (round(used, 3), round(limit, 3))
            return


def _with_curve(refusal: Refused, curve: Curve, steps: int | None) -> Refused:
    """What a limit ended in training, with how far it had come by its own account."""
    if not refusal.verdict.limit or not curve:
        return refusal
    last, planned = curve[-1], f" of {steps}" if steps else ""
    return refusal.reworded(
        f"{refusal}; a training loss of {last.loss:.3f} at step {last.step}{planned}, by its own account"
    )


def _archive(folder: Path, phase: str, work: Path) -> None:
    """Keep a phase's log and loss curve, drop the folders that the candidate could write or see."""
    if (work / "log.txt").exists():
        (work / "log.txt").rename(folder / f"{phase}.log")
    if phase == "train" and (work / "out").is_dir():
        with contextlib.suppress(Refused):  # a trial without a loss curve is still a trial
            take(work / "out", "metrics.jsonl", METRICS_BYTES, folder / "metrics.jsonl")
    discard(work)

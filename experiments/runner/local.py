"""Measurements on this machine: each phase is a sandboxed job, and only the harness copies files between phases."""

import contextlib
from collections.abc import Mapping
from math import inf
from pathlib import Path
from secrets import token_hex

import numpy as np

from common.errors import Refused
from experiments.ledger.measurement import ORIGINAL_ORDER, Measurement
from experiments.ledger.usage import SETUP_BUDGET
from experiments.runner import calibration
from experiments.runner.curves import Curve, read_curve, run_watched
from experiments.runner.job import CHECKPOINT, LOSSES, Job
from experiments.runner.referee import Score, score
from experiments.runner.seeds import shuffle_shards
from experiments.tiers import PACK_SECONDS
from preflight.candidate import packing
from preflight.candidate.candidate import Candidate, raise_for_outcome
from preflight.sandbox.cleanup import remove_tree
from preflight.sandbox.job import Limits, Outcome, collect_output
from preflight.sandbox.start import run
from preflight.source import bundle

PHASES = ("train", "quantise", "pack", "unpack", "score", "proof")
METRICS_BYTES = 1 << 22
SETUP_SECONDS = 300.0
AUDIT_FACTOR = 10.0  # the audit reads everything again in small blocks, with a forward pass for every position
SHARDS = "shards"  # in a measurement's folder: the training shards as this measurement gets them
MAX_NATS = 60_000.0  # near the largest float16
POSITION_SECONDS = 0.05  # the most that one of many positions may take; in pocket it takes 0.02
Spent = dict[str, tuple[float, float]]  # (used, limit) of each budget, by its name


class LocalRunner:
    """A runner that measures on this machine, in the calling thread."""

    def measure(self, job: Job) -> Measurement:
        """Run a job; raises Refused, SandboxError or DataError (see Runner)."""
        # A program sees its own path, which must not tell it what it runs for
        folders = {phase: job.folder / token_hex(4) for phase in PHASES}
        spent: Spent = {}
        try:
            return self._measure(job, folders, spent)
        except Refused as refusal:
            refusal.spent = {**spent, **refusal.spent}
            raise
        finally:
            (job.folder / bundle.NAME).unlink(missing_ok=True)
            remove_tree(job.folder / SHARDS)
            for phase, work in folders.items():
                _archive(job.folder, phase, work)

    def _measure(self, job: Job, folders: Mapping[str, Path], spent: Spent) -> Measurement:
        tier = job.tier
        job.folder.mkdir(parents=True, exist_ok=True)
        program = job.folder / bundle.NAME
        program.write_bytes(job.bundle.read_bytes())
        candidate = Candidate(program, tier.target, job.level)
        weights, artifact = job.folder / "weights.bin", job.folder / "artifact.bin"

        speed = calibration.cpu_seconds()
        slowdown = calibration.slowdown(speed, job.budget.cpu_calibration_seconds)
        if job.checkpoint is None:
            trained = _train(candidate, job, folders["train"], slowdown, weights, spent)
        else:
            trained = _quantise(candidate, job, job.checkpoint, folders["quantise"], slowdown, weights, spent)

        limits = Limits(PACK_SECONDS, tier.pack_cpu_seconds)
        pack_folders = (folders["pack"], folders["unpack"])
        packed, unpacked, sha256 = packing.pack(candidate, pack_folders, limits, weights, artifact)
        for phase, outcome in (("pack", packed), ("unpack", unpacked)):
            _record_usage(spent, phase, limits, outcome.cpu_seconds, outcome.wall_seconds)
        code_bytes = program.stat().st_size
        spent["artifact_bytes"] = (code_bytes + artifact.stat().st_size, tier.target.cap_bytes)

        scored = _score(candidate, job, folders, slowdown, artifact, spent)
        np.save(job.folder / LOSSES, np.minimum(scored.losses, MAX_NATS).astype(np.float16))
        return Measurement(
            seed=job.seed,
            val_bpb=scored.val_bpb,
            val_nats=scored.val_nats,
            code_bytes=code_bytes,
            model_bytes=artifact.stat().st_size,
            artifact_sha256=sha256,
            train_wall_seconds=trained.wall_seconds,
            train_cpu_seconds=trained.cpu_seconds,
            train_setup_seconds=trained.setup_seconds,
            train_setup_cpu_seconds=trained.setup_cpu_seconds,
            pack_wall_seconds=packed.wall_seconds,
            pack_cpu_seconds=packed.cpu_seconds,
            load_wall_seconds=scored.load_wall_seconds,
            load_cpu_seconds=scored.load_cpu_seconds,
            score_wall_seconds=scored.wall_seconds,
            score_cpu_seconds=scored.cpu_seconds,
            proof_wall_seconds=scored.audit_wall_seconds,
            yardstick_seconds=speed,
            honesty=scored.honesty,
            honesty_bpb=scored.honesty_bpb,
            rare_bpb=scored.rare_bpb,
            data_seed=job.data_seed,
            charge_bpb=scored.charge_bpb,
            spent=spent,
        )


def _train(candidate: Candidate, job: Job, folder: Path, slowdown: float, weights: Path, spent: Spent) -> Outcome:
    """Train and copy the weights; raises Refused."""
    limits = Limits(
        wall_seconds=job.tier.train_wall_seconds,
        cpu_seconds=slowdown * job.budget.train_cpu_seconds,
        setup_seconds=SETUP_SECONDS,
        setup_cpu_seconds=job.budget.setup_cpu_seconds,
    )
    shards = job.corpus.folder / "train"
    if job.data_seed != ORIGINAL_ORDER:
        shards = shuffle_shards(job.corpus, job.folder / SHARDS, job.data_seed)
    training = candidate.train(folder, limits, job.corpus, shards, job.seed)
    trained = run_watched(training, job.tier.steps)
    try:
        raise_for_outcome(training, trained, "train")
    except Refused as refusal:
        raise _with_curve(refusal, read_curve(training.out / "metrics.jsonl"), job.tier.steps) from refusal
    charged = max(trained.setup_cpu_seconds - limits.setup_cpu_seconds, 0.0)
    _record_usage(spent, "train", limits, trained.cpu_seconds + charged, trained.wall_seconds)
    if limits.cpu_seconds < inf:
        spent[SETUP_BUDGET] = (round(trained.setup_cpu_seconds, 3), round(limits.setup_cpu_seconds, 3))
    collect_output(training.out, "weights.bin", candidate.weights_bytes, weights)
    with contextlib.suppress(Refused):  # trees of earlier versions leave none, and nothing depends on it
        collect_output(training.out, CHECKPOINT, candidate.checkpoint_bytes, weights.with_name(CHECKPOINT))
    return trained


def _quantise(
    candidate: Candidate, job: Job, checkpoint: Path, folder: Path, slowdown: float, weights: Path, spent: Spent
) -> Outcome:
    """Quantize an earlier training's checkpoint; its time counts as training time. Raises Refused."""
    limits = Limits(job.tier.train_wall_seconds, slowdown * job.budget.train_cpu_seconds)
    quantising = candidate.quantise(folder, limits, checkpoint)
    quantised = run(quantising)
    raise_for_outcome(quantising, quantised, "train")
    _record_usage(spent, "train", limits, quantised.cpu_seconds, quantised.wall_seconds)
    collect_output(quantising.out, "weights.bin", candidate.weights_bytes, weights)
    return quantised


def _score(
    candidate: Candidate, job: Job, folders: Mapping[str, Path], slowdown: float, artifact: Path, spent: Spent
) -> Score:
    """Score once, however it ends: no retry may follow a scorer that has seen held-out text."""
    limits = Limits(job.tier.score_wall_seconds, slowdown * job.budget.score_cpu_seconds)
    positions_seconds = POSITION_SECONDS * job.tier.audit_positions
    audit_limits = Limits(
        wall_seconds=SETUP_SECONDS + 2 * job.tier.score_wall_seconds + positions_seconds,
        cpu_seconds=AUDIT_FACTOR * limits.cpu_seconds + positions_seconds,
    )
    first, second = (
        candidate.score(folders[phase], phase_limits, artifact, job.corpus.tokenizer)
        for phase, phase_limits in (("score", limits), ("proof", audit_limits))
    )
    reference = np.load(job.reference) if job.reference else None
    scored = score(first, second, job.tier, job.corpus, job.full_audit, reference)
    cpu_seconds = scored.load_cpu_seconds + scored.cpu_seconds
    _record_usage(spent, "score", limits, cpu_seconds, scored.load_wall_seconds + scored.wall_seconds)
    return scored


def _record_usage(spent: Spent, phase: str, limits: Limits, cpu_seconds: float, wall_seconds: float) -> None:
    """Record a phase's use of its budget: CPU seconds if those are limited, else wall seconds, else nothing."""
    for what, used, limit in (
        ("cpu", cpu_seconds, limits.cpu_seconds),
        ("wall", wall_seconds, limits.wall_seconds),
    ):
        if limit < inf:
            spent[f"{phase}_{what}_seconds"] = (round(used, 3), round(limit, 3))
            return


def _with_curve(refusal: Refused, curve: Curve, steps: int | None) -> Refused:
    """Add the last point of the program's own curve to the refusal, if a limit ended the training."""
    if not refusal.verdict.hit_limit or not curve:
        return refusal
    last, planned = curve[-1], f" of {steps}" if steps else ""
    return refusal.with_message(
        f"{refusal}; its own log had a training loss of {last.loss:.3f} at step {last.step}{planned}"
    )


def _archive(folder: Path, phase: str, work: Path) -> None:
    """Keep a phase's log and loss curve, and delete the folders that the candidate could write or see."""
    if (work / "log.txt").exists():
        (work / "log.txt").rename(folder / f"{phase}.log")
    if phase == "train" and (work / "out").is_dir():
        with contextlib.suppress(Refused):  # the loss curve is optional
            collect_output(work / "out", "metrics.jsonl", METRICS_BYTES, folder / "metrics.jsonl")
    remove_tree(work)

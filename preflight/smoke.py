"""Smoke run of a candidate: a few training steps, packing, scoring and an audit, on a small piece of training text."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.errors import Refused
from common.state import State
from data.corpus import Corpus
from data.shards import Tokens, read_shard, write_shard
from preflight.candidate import packing
from preflight.candidate.candidate import Candidate, raise_for_outcome
from preflight.candidate.launch import LaunchConfig
from preflight.sandbox.isolation.view import gpu_devices
from preflight.sandbox.job import Job, Limits, Outcome, collect_output
from preflight.sandbox.start import start
from preflight.scoring.audit import audit
from preflight.scoring.honesty import Honesty
from preflight.scoring.protocol import first_pass, scoring_session

STEPS = 3
SCORED_TOKENS = 1200
SLACK = 0.5  # its artifact may be so much larger: `size` has forecast what training will make of it
PROBES = 24  # distributions that the audit demands
TRAIN_BATCHES = 4  # of training text
LIMITS = Limits(wall_seconds=120, cpu_seconds=120)


def train(candidate: Candidate, corpus: Corpus, folder: Path, seeds: Sequence[int]) -> list[Path]:
    """Train a few steps per seed and return the quantized weights; on a CPU, all seeds at once. Raises Refused."""
    stream = read_shard(corpus.shards("train")[0])[: TRAIN_BATCHES * batch_tokens(candidate.target) + 1]
    folders = [folder / f"seed_{number}" for number in range(len(seeds))]
    weights = [each / "weights.bin" for each in folders]
    jobs = [
        training_job(candidate, corpus, each, stream, seed, STEPS) for each, seed in zip(folders, seeds, strict=True)
    ]
    for path, job, outcome in zip(weights, jobs, run_concurrently(jobs), strict=True):
        raise_for_outcome(job, outcome, "train")
        collect_output(job.out, "weights.bin", candidate.weights_bytes, path)
    return weights


def training_job(candidate: Candidate, corpus: Corpus, folder: Path, stream: Tokens, seed: int, steps: int) -> Job:
    """Return the job of a short training run on these tokens; `size` decides whether its model fits."""
    shards = folder / "shards"
    shards.mkdir(parents=True)
    write_shard(shards / "fineweb_train_000000.bin", stream)
    return _with_steps(candidate, steps).train(folder / "train", LIMITS, corpus, shards, seed)


def run_concurrently(jobs: Sequence[Job]) -> list[Outcome]:
    """Run jobs to completion: on a CPU all at once, so that they share the same load; on a GPU one after another."""
    if gpu_devices():
        return [outcome for job in jobs for outcome in _start_all([job])]
    return _start_all(jobs)


def _start_all(jobs: Sequence[Job]) -> list[Outcome]:
    with ExitStack() as stack:
        running = [stack.enter_context(start(job)) for job in jobs]
        return [job.wait() for job in running]


def batch_tokens(target: LaunchConfig) -> int:
    return int(target.environment.get("BATCH_TOKENS", 1 << 16))


def pack(candidate: Candidate, folder: Path, weights: Path) -> Path:
    """Pack these weights and return the path of the artifact; raises Refused."""
    artifact = folder / "artifact.bin"
    folders = (folder / "pack", folder / "unpack")
    packing.pack(_with_steps(candidate, STEPS), folders, LIMITS, weights, artifact, SLACK)
    return artifact


def require_seed_matters(weights: Sequence[Path]) -> None:
    """Raise Refused if two seeds gave the same weights: a candidate could then have hard-coded a lucky seed."""
    if len({path.read_bytes() for path in weights}) < len(weights):
        raise Refused(
            State.SEED_IGNORED, f"train: got the same weights after {STEPS} steps with two seeds, expected others"
        )


def _with_steps(candidate: Candidate, steps: int) -> Candidate:
    environment = {**candidate.target.environment, "ITERATIONS": str(steps)}
    return replace(candidate, target=replace(candidate.target, environment=environment))


def score_and_audit(candidate: Candidate, corpus: Corpus, folder: Path, artifact: Path) -> Honesty:
    """Score a short stretch of training text and audit the losses; raises Refused.

    One process runs both passes, which saves a start; a trial's own audit uses a second process.
    """
    rng = np.random.default_rng()  # cuts and probe positions must not be foreseeable
    tokens = read_shard(corpus.shards("train")[-1])[-SCORED_TOKENS:]
    job = candidate.score(folder / "score", LIMITS, artifact, corpus.tokenizer)
    with scoring_session(job, corpus.manifest.vocab_size, LIMITS.wall_seconds, quote_log=True) as (scorer, _):
        losses = first_pass(scorer, tokens, rng, SCORED_TOKENS // 2)
        return audit(scorer, tokens, losses, rng, PROBES)

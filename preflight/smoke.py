"""A few steps of the real thing: train, pack and a short conversation with its proof, on a sliver of training text."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.corpus import Corpus
from data.errors import Refused
from data.shards import Tokens, read_shard, write_shard
from data.state import State
from preflight import packing, size
from preflight.conversation import first_pass, hold
from preflight.phases import Candidate, Target, require
from preflight.proof import Honesty, prove
from preflight.sandbox import Job, Limits, Outcome, start, take
from preflight.sandbox.view import gpu_devices

STEPS = 3
TOKENS = 1200  # of the short conversation
PLACES = 24
TRAIN_BATCHES = 4  # in the sliver of training text
LIMITS = Limits(wall_seconds=120, cpu_seconds=120)


def train(candidate: Candidate, corpus: Corpus, folder: Path, seeds: Sequence[int]) -> list[Path]:
    """A few steps on each seed to quantised weights, on a CPU at the same time; raises Refused."""
    stream = read_shard(corpus.shards("train")[0])[: TRAIN_BATCHES * batch_tokens(candidate.target) + 1]
    places = [folder / f"seed_{number}" for number in range(len(seeds))]
    jobs = [training(candidate, corpus, place, stream, seed, STEPS) for place, seed in zip(places, seeds, strict=True)]
    found = []
    for place, job, outcome in zip(places, jobs, side_by_side(jobs), strict=True):
        require(job, outcome, "train")
        take(job.out, "weights.bin", candidate.weights_bytes, place / "weights.bin")
        found.append(place / "weights.bin")
    return found


def training(candidate: Candidate, corpus: Corpus, folder: Path, stream: Tokens, seed: int, steps: int) -> Job:
    """A short run on these tokens; whether its model fits is for `size` to say."""
    shards = folder / "shards"
    shards.mkdir(parents=True)
    write_shard(shards / "fineweb_train_000000.bin", stream)
    return _short(candidate, steps).train(folder / "train", LIMITS, corpus, shards, seed)


def side_by_side(jobs: Sequence[Job]) -> list[Outcome]:
    """Run jobs to their ends: on a CPU all at once, so that they meet the same machine; on a GPU one after another."""
    if gpu_devices():
        return [outcome for job in jobs for outcome in _at_once([job])]
    return _at_once(jobs)


def _at_once(jobs: Sequence[Job]) -> list[Outcome]:
    with ExitStack() as held:
        running = [held.enter_context(start(job)) for job in jobs]
        return [one.wait() for one in running]


def batch_tokens(target: Target) -> int:
    return int(target.environment.get("BATCH_TOKENS", 1 << 16))


def pack(candidate: Candidate, folder: Path, weights: Path) -> Path:
    """The artifact of these weights; raises Refused."""
    artifact = folder / "artifact.bin"
    folders = (folder / "pack", folder / "unpack")
    packing.pack(_short(candidate, STEPS), folders, LIMITS, weights, artifact, size.SLACK)
    return artifact


def require_seed_matters(weights: Sequence[Path]) -> None:
    """Another seed gives other weights, or a candidate could have chosen its luck once for all; raises Refused."""
    if len({path.read_bytes() for path in weights}) < len(weights):
        raise Refused(
            State.SEED_IGNORED, f"train: got the same weights after {STEPS} steps with two seeds, expected others"
        )


def _short(candidate: Candidate, steps: int) -> Candidate:
    environment = {**candidate.target.environment, "ITERATIONS": str(steps)}
    return replace(candidate, target=replace(candidate.target, environment=environment))


def converse(candidate: Candidate, corpus: Corpus, folder: Path, artifact: Path) -> Honesty:
    """A short conversation over training text, proof included; raises Refused.

    One process holds both halves to save a start: the trial's own proof uses a second one.
    """
    rng = np.random.default_rng()  # cuts and places must not be foreseeable
    tokens = read_shard(corpus.shards("train")[-1])[-TOKENS:]
    job = candidate.score(folder / "score", LIMITS, artifact, corpus.tokenizer)
    with hold(job, corpus.manifest.vocab_size, LIMITS.wall_seconds, quote_log=True) as (conversation, _):
        losses = first_pass(conversation, tokens, rng, TOKENS // 2)
        return prove(conversation, tokens, losses, rng, PLACES)

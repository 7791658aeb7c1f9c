"""A few steps of the real thing: train, pack and a short conversation with its proof, on a sliver of training text."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from data.corpus import Corpus
from data.errors import Refused
from data.shards import read_shard, write_shard
from data.state import State
from preflight import size
from preflight.conversation import first_pass, hold
from preflight.phases import Candidate, require
from preflight.proof import Honesty, prove
from preflight.sandbox import Limits, run, take

STEPS = 3
TOKENS = 1200  # of the short conversation
PLACES = 24
TRAIN_BATCHES = 4  # in the sliver of training text
LIMITS = Limits(wall_seconds=120, cpu_seconds=120)


def train(candidate: Candidate, corpus: Corpus, folder: Path, seed: int) -> Path:
    """A few steps to quantised weights, whose path is returned; raises Refused."""
    stream = read_shard(corpus.shards("train")[0])
    batch_tokens = int(candidate.target.environment.get("BATCH_TOKENS", 1 << 16))
    shards = folder / "shards"
    shards.mkdir(parents=True)
    write_shard(shards / "fineweb_train_000000.bin", stream[: TRAIN_BATCHES * batch_tokens + 1])
    job = _short(candidate).train(folder / "train", LIMITS, corpus, shards, seed)
    require(job, run(job), "train")
    take(job.out, "weights.bin", candidate.weights_bytes, folder / "weights.bin")
    return folder / "weights.bin"


def pack(candidate: Candidate, folder: Path, weights: Path) -> Path:
    """The artifact of these weights; raises Refused."""
    short = _short(candidate)
    job = short.pack(folder / "pack", LIMITS, weights)
    require(job, run(job), "pack")
    take(job.out, "artifact.bin", short.target.cap_bytes, folder / "artifact.bin")
    return folder / "artifact.bin"


def require_seed_matters(candidate: Candidate, corpus: Corpus, folder: Path, weights: Path, seed: int) -> None:
    """Another seed gives other weights, or a candidate could have chosen its luck once for all; raises Refused."""
    if train(candidate, corpus, folder, seed).read_bytes() == weights.read_bytes():
        raise Refused(
            State.SEED_IGNORED, f"train: got the same weights after {STEPS} steps with two seeds, expected others"
        )


def _short(candidate: Candidate) -> Candidate:
    """A run of a few steps; whether its model fits is for `size` to say."""
    target = candidate.target
    environment = {**target.environment, "ITERATIONS": str(STEPS)}
    return replace(
        candidate, target=replace(target, environment=environment, cap_bytes=int(target.cap_bytes / size.SLACK))
    )


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

"""A few steps of the real thing: train, pack and a short conversation with its proof, on a sliver of training text."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.corpus import Corpus
from data.shards import write_shard
from preflight.conversation import first_pass, hold
from preflight.phases import Candidate, require
from preflight.proof import Honesty, prove
from preflight.sandbox import Limits, run, take

STEPS = 3
TOKENS = 1200  # of the short conversation
PLACES = 24
TRAIN_BATCHES = 4  # in the sliver of training text
LIMITS = Limits(wall_seconds=120, cpu_seconds=120)
WEIGHTS_BYTES = 1 << 30


def check(candidate: Candidate, corpus: Corpus, folder: Path, seed: int) -> Honesty:
    """Run the candidate's phases in little; raises Refused."""
    folder.mkdir(parents=True)
    stream = corpus.tokens("train")
    batch_tokens = int(candidate.target.environment.get("BATCH_TOKENS", 1 << 16))
    (folder / "shards").mkdir()
    write_shard(folder / "shards" / "fineweb_train_000000.bin", stream[: TRAIN_BATCHES * batch_tokens + 1])

    target = replace(candidate.target, environment={**candidate.target.environment, "ITERATIONS": str(STEPS)})
    candidate = replace(candidate, target=target)
    job = candidate.train(folder / "train", LIMITS, corpus, folder / "shards", seed)
    require(job, run(job), "train")
    weights, artifact = folder / "weights.bin", folder / "artifact.bin"
    take(job.out, "weights.bin", WEIGHTS_BYTES, weights)
    job = candidate.pack(folder / "pack", LIMITS, weights)
    require(job, run(job), "pack")
    take(job.out, "artifact.bin", candidate.target.cap_bytes, artifact)

    rng = np.random.default_rng()  # cuts and places must not be foreseeable
    tokens = stream[-TOKENS:]
    job = candidate.score(folder / "score", LIMITS, artifact, corpus.tokenizer)
    with hold(job, corpus.manifest.vocab_size) as (conversation, _):
        losses = first_pass(conversation, tokens, rng, TOKENS // 2)
        honesty = prove(conversation, tokens, losses, rng, PLACES)
    shutil.rmtree(folder)
    return honesty

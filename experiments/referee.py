"""The score is a conversation: hold it, count the bytes from the trusted table, then demand the proof."""

import time
from dataclasses import dataclass

import numpy as np

from data.byte_table import bits_per_byte
from data.corpus import Corpus
from data.errors import Refused
from data.state import State
from experiments.tiers import Tier
from preflight.conversation import first_pass, hold
from preflight.proof import Honesty, prove
from preflight.sandbox import Job, residue


@dataclass(frozen=True)
class ScoreLimits:
    """CPU seconds of loading and of the first conversation."""

    load_cpu_seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Score:
    """Bits per byte of one split, the cost of finding out, and how far they can be off."""

    val_bpb: float
    val_nats: float
    load_wall_seconds: float
    load_cpu_seconds: float
    wall_seconds: float
    cpu_seconds: float
    proof_wall_seconds: float
    honesty: Honesty
    honesty_bpb: float
    rare_bpb: float


def score(first: Job, second: Job, tier: Tier, corpus: Corpus, limits: ScoreLimits) -> Score:
    """Both conversations, each with a scorer of its own, so that the second cannot remember; raises Refused."""
    tokens = corpus.tokens(tier.split)
    rng = np.random.default_rng()  # seeded by the system: cuts and places cannot be foreseen
    started = time.monotonic()
    with hold(first, corpus.manifest.vocab_size, tier.score_wall_seconds) as (conversation, running):
        conversation.reset()  # answered when the model is loaded: the clock starts here
        wall, cpu = time.monotonic(), running.cpu_seconds()
        load_seconds = wall - started
        _check("cpu seconds to load", cpu, limits.load_cpu_seconds)

        def check_clock() -> None:
            _check("cpu seconds", running.cpu_seconds() - cpu, limits.cpu_seconds)
            _check("wall seconds", time.monotonic() - wall, tier.score_wall_seconds)

        losses = first_pass(conversation, tokens, rng, tier.largest_block, check_clock)
        wall_seconds, cpu_seconds = time.monotonic() - wall, running.cpu_seconds() - cpu
    part = min(len(tokens), tier.proof_tokens)
    started = time.monotonic()
    with hold(second, corpus.manifest.vocab_size, tier.score_wall_seconds) as (conversation, _):
        honesty = prove(conversation, tokens[:part], losses[:part], rng, tier.proof_places)
    proof_wall_seconds = time.monotonic() - started

    nats = float(losses[1:].astype(np.float64).sum())  # the first token is context, not a target
    text_bytes = int(corpus.byte_table().target_bytes(tokens).sum())
    per_token = bits_per_byte(len(tokens) - 1.0, text_bytes)  # bpb of one nat a token
    val_bpb, smooth_bpb = bits_per_byte(nats, text_bytes), honesty.smooth_bound_nats * per_token
    if not smooth_bpb <= tier.smooth_bound_bpb:
        got = f"{smooth_bpb:.5f} bpb over {honesty.places} places"
        raise Refused(
            State.DISHONEST, f"losses and predictions differ by up to {got}, expected at most {tier.smooth_bound_bpb}"
        )
    return Score(
        val_bpb=val_bpb,
        val_nats=nats / (len(tokens) - 1),
        load_wall_seconds=load_seconds,
        load_cpu_seconds=cpu,
        wall_seconds=wall_seconds,
        cpu_seconds=cpu_seconds,
        proof_wall_seconds=proof_wall_seconds,
        honesty=honesty,
        honesty_bpb=smooth_bpb + residue.bpb(first.level, text_bytes, val_bpb),
        rare_bpb=honesty.rare_bound_nats * per_token,
    )


def _check(what: str, used: float, limit: float) -> None:
    if used > limit:
        raise Refused(State.TIMEOUT_SCORE, f"score: got {used:.1f} {what}, expected at most {limit:.1f}")

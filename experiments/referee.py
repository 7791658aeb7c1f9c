"""The score is a conversation: hold it, count the bytes from the trusted table, then demand the proof."""

import time
from dataclasses import dataclass

import numpy as np

from data.byte_table import bits_per_byte
from data.corpus import Corpus
from data.errors import DataError, Refused
from data.state import State
from experiments.tiers import Tier
from preflight.conversation import Values, first_pass, hold
from preflight.proof import Honesty, prove
from preflight.sandbox import Job, residue

# A proof that reads a part: of proof_tokens, so that no scorer knows when it is no longer read, and of the places
PREFIX, LEAST_PLACES = (0.5, 1.5), 0.25


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
    charge_bpb: float
    losses: Values  # as claimed, of every token


def score(
    first: Job,
    second: Job,
    tier: Tier,
    corpus: Corpus,
    limits: ScoreLimits,
    whole: bool = True,
    reference: Values | None = None,
) -> Score:
    """Both conversations, each with a scorer of its own, so that the second cannot remember; raises Refused.

    What decides no keep need not be proved `whole`: a prefix of random length is. A gain is claimed over `reference`.
    """
    tokens = corpus.tokens(tier.split)
    if reference is not None and len(reference) != len(tokens):
        raise DataError(f"got {len(reference)} losses to compare with, expected {len(tokens)}: one of each token")
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
    prefix = len(tokens) if whole else min(max(int(tier.proof_tokens * rng.uniform(*PREFIX)), 2), len(tokens))
    asked = max(int(tier.proof_places * max(prefix / len(tokens), LEAST_PLACES)), 1)
    started = time.monotonic()
    with hold(second, corpus.manifest.vocab_size, tier.score_wall_seconds) as (conversation, _):
        honesty = prove(conversation, tokens, losses, rng, asked, reference, prefix)
    proof_wall_seconds = time.monotonic() - started

    count = len(tokens) - 1  # the first token is context, not a target
    nats = float(losses[1:].astype(np.float64).sum()) + count * honesty.charge_nats
    text_bytes = int(corpus.byte_table().target_bytes(tokens).sum())
    per_token = bits_per_byte(float(count), text_bytes)  # bpb of one nat a token
    val_bpb, smooth_bpb = bits_per_byte(nats, text_bytes), honesty.smooth_bound_nats * per_token
    if not smooth_bpb <= tier.smooth_bound_bpb:
        got = f"{smooth_bpb:.5f} bpb over {honesty.places} places"
        raise Refused(
            State.DISHONEST, f"losses and predictions differ by up to {got}, expected at most {tier.smooth_bound_bpb}"
        )
    return Score(
        val_bpb=val_bpb,
        val_nats=nats / count,
        load_wall_seconds=load_seconds,
        load_cpu_seconds=cpu,
        wall_seconds=wall_seconds,
        cpu_seconds=cpu_seconds,
        proof_wall_seconds=proof_wall_seconds,
        honesty=honesty,
        honesty_bpb=smooth_bpb + honesty.unread_bound_nats * per_token + residue.bpb(first.level, text_bytes, val_bpb),
        rare_bpb=honesty.rare_bound_nats * per_token,
        charge_bpb=honesty.charge_nats * per_token,
        losses=losses,
    )


def _check(what: str, used: float, limit: float) -> None:
    if used > limit:
        raise Refused(State.TIMEOUT_SCORE, f"score: got {used:.1f} {what}, expected at most {limit:.1f}")

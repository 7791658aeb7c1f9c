"""The score is a conversation: hold it, count the bytes from the trusted table, then demand the proof."""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
MOST_CLAIMED_NATS = 100.0  # of a token, where a claim is shown


Sizes = npt.NDArray[np.int64]  # bytes of every token but the first


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
    whole: bool = True,
    reference: Values | None = None,
) -> Score:
    """Both conversations, each with a scorer of its own, so that the second cannot remember; raises Refused.

    The limits of `first` hold for loading and all of its conversation. What decides no keep need not be proved `whole`:
    a prefix of random length is. A gain is claimed over `reference`, and so is the value of what a limit ends.
    """
    tokens = corpus.tokens(tier.split)
    if reference is not None and len(reference) != len(tokens):
        raise DataError(f"got {len(reference)} losses to compare with, expected {len(tokens)}: one of each token")
    sizes = corpus.byte_table().target_bytes(tokens)
    rng = np.random.default_rng()  # seeded by the system: cuts and places cannot be foreseen
    read: list[Values] = []
    try:
        started = time.monotonic()
        with hold(first, corpus.manifest.vocab_size, tier.score_wall_seconds) as (conversation, running):
            conversation.reset()  # answered when the model is loaded
            loaded, load_cpu_seconds = time.monotonic(), running.cpu_seconds()
            losses = first_pass(conversation, tokens, rng, tier.largest_block, read.append)
            wall_seconds, cpu_seconds = time.monotonic() - started, running.cpu_seconds()
        for what, used, limit in (
            ("wall", wall_seconds, first.limits.wall_seconds),
            ("cpu", cpu_seconds, first.limits.cpu_seconds),
        ):
            if used > limit:  # between two looks of the supervisor
                message = f"score: got {used:.1f} {what} seconds, expected at most {limit:.1f}"
                raise Refused(State.TIMEOUT_SCORE, message, spent={f"score_{what}_seconds": (used, limit)})
        prefix = len(tokens) if whole else min(max(int(tier.proof_tokens * rng.uniform(*PREFIX)), 2), len(tokens))
        asked = max(int(tier.proof_places * max(prefix / len(tokens), LEAST_PLACES)), 1)
        proof_started = time.monotonic()
        with hold(second, corpus.manifest.vocab_size, tier.score_wall_seconds, phase="proof") as (conversation, _):
            honesty = prove(conversation, tokens, losses, rng, asked, reference, prefix)
        proof_wall_seconds = time.monotonic() - proof_started
    except Refused as refusal:
        if refusal.verdict.limit and sum(map(len, read)) > 1:
            raise _as_far_as_read(refusal, np.concatenate(read), sizes, reference) from refusal
        raise

    count = len(tokens) - 1  # the first token is context, not a target
    nats = float(losses[1:].astype(np.float64).sum()) + count * honesty.charge_nats
    text_bytes = int(sizes.sum())
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
        load_wall_seconds=loaded - started,
        load_cpu_seconds=load_cpu_seconds,
        wall_seconds=wall_seconds - (loaded - started),
        cpu_seconds=cpu_seconds - load_cpu_seconds,
        proof_wall_seconds=proof_wall_seconds,
        honesty=honesty,
        honesty_bpb=smooth_bpb + honesty.unread_bound_nats * per_token + residue.bpb(first.level, text_bytes, val_bpb),
        rare_bpb=honesty.rare_bound_nats * per_token,
        charge_bpb=honesty.charge_nats * per_token,
        losses=losses,
    )


def _as_far_as_read(refusal: Refused, losses: Values, sizes: Sizes, reference: Values | None) -> Refused:
    """What a limit ended, with what it claimed up to there; beside a reference its value is that of all the text.

    To four digits, and nothing where the claim is absurd: it is nobody's measurement, and must carry no text.
    """
    count = len(losses) - 1
    here, text_bytes = losses[1:].astype(np.float64), int(sizes[:count].sum())
    if not text_bytes or float(here.max()) > MOST_CLAIMED_NATS:
        return refusal
    val_bpb, delta_bpb, beside = bits_per_byte(float(here.sum()), text_bytes), None, ""
    if reference is not None:
        theirs = reference.astype(np.float64)[1:]
        delta_bpb = round(bits_per_byte(float((here - theirs[:count]).sum()), text_bytes), 4)
        val_bpb = bits_per_byte(float(theirs.sum()), int(sizes.sum())) + delta_bpb
        beside = f", {delta_bpb:+.4f} beside the incumbent"
    told = f"{val_bpb:.4f} bpb{beside} by {count / len(sizes):.0%} of the text, claimed and not proved"
    return Refused(refusal.verdict, f"{refusal}; {told}", round(val_bpb, 4), delta_bpb, refusal.spent)

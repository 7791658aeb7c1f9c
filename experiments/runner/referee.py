"""The referee: runs the scoring protocol, counts bytes with the trusted table, and audits the claimed losses."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.errors import DataError, Refused
from common.state import State
from data.byte_table import bits_per_byte
from data.corpus import Corpus
from data.shards import Tokens
from experiments.tiers import Tier
from preflight.sandbox.isolation import residue
from preflight.sandbox.job import Job, Limits
from preflight.scoring.audit import audit
from preflight.scoring.honesty import Honesty
from preflight.scoring.protocol import Values, first_pass, scoring_session

# A partial audit reads a random share of tier.audit_tokens, so that no scorer knows when its losses are not audited,
# and probes at least this share of tier.audit_positions
PREFIX_RANGE, MIN_POSITIONS_SHARE = (0.5, 1.5), 0.25
MAX_CLAIMED_NATS = 100.0  # of a token, for a claim to be reported


Sizes = npt.NDArray[np.int64]  # bytes of every token but the first


@dataclass(frozen=True)
class Score:
    """Bits per byte of one split, the cost of the measurement, and the bounds of its error."""

    val_bpb: float
    val_nats: float
    load_wall_seconds: float
    load_cpu_seconds: float
    wall_seconds: float
    cpu_seconds: float
    audit_wall_seconds: float
    honesty: Honesty
    honesty_bpb: float
    rare_bpb: float
    charge_bpb: float
    losses: Values  # as claimed, of every token


@dataclass(frozen=True)
class _Claim:
    """The losses of the first pass and its cost, loading included."""

    losses: Values
    load_wall_seconds: float
    load_cpu_seconds: float
    wall_seconds: float
    cpu_seconds: float


def score(
    first: Job,
    second: Job,
    tier: Tier,
    corpus: Corpus,
    full_audit: bool = True,
    reference: Values | None = None,
) -> Score:
    """Run both passes, each with its own process, so that the second cannot remember the first.

    Args:
        first: The scorer for the first pass; its limits hold for loading and the whole pass.
        second: The scorer for the audit.
        tier: The split, the block size and the size of the audit.
        corpus: The data.
        full_audit: Audit all tokens. A measurement that decides no keep may do with a prefix of random length.
        reference: Losses over which a gain is claimed, one per token; they also value a pass that a limit ended.

    Raises:
        Refused: The scorer failed, broke the protocol, or the audit found a difference.
        DataError: The reference does not fit the split.
    """
    tokens = corpus.tokens(tier.split)
    if reference is not None and len(reference) != len(tokens):
        raise DataError(f"got {len(reference)} reference losses, expected {len(tokens)}: one for each token")
    sizes = corpus.byte_table().target_bytes(tokens)
    rng = np.random.default_rng()  # seeded by the system: cuts and positions cannot be foreseen
    read: list[Values] = []
    try:
        claimed = _claim(first, tier, corpus, tokens, rng, read.append)
        losses, audit_started = claimed.losses, time.monotonic()
        prefix = len(tokens) if full_audit else _prefix(tier, len(tokens), rng)
        honesty = _audit(second, tier, corpus.manifest.vocab_size, tokens, losses, rng, reference, prefix)
        audit_wall_seconds = time.monotonic() - audit_started
    except Refused as refusal:
        if refusal.verdict.hit_limit and sum(map(len, read)) > 1:
            raise _with_partial_score(refusal, np.concatenate(read), sizes, reference) from refusal
        raise

    count = len(tokens) - 1  # the first token is context, not a target
    nats = float(losses[1:].astype(np.float64).sum()) + count * honesty.charge_nats
    text_bytes = int(sizes.sum())
    per_token = bits_per_byte(float(count), text_bytes)  # bpb of one nat a token
    val_bpb, bias_bpb = bits_per_byte(nats, text_bytes), honesty.smooth_bound_nats * per_token
    _require_small_bias(bias_bpb, tier.systematic_bound_bpb, honesty.places)
    return Score(
        val_bpb=val_bpb,
        val_nats=nats / count,
        load_wall_seconds=claimed.load_wall_seconds,
        load_cpu_seconds=claimed.load_cpu_seconds,
        wall_seconds=claimed.wall_seconds - claimed.load_wall_seconds,
        cpu_seconds=claimed.cpu_seconds - claimed.load_cpu_seconds,
        audit_wall_seconds=audit_wall_seconds,
        honesty=honesty,
        honesty_bpb=bias_bpb + honesty.unread_bound_nats * per_token + residue.bpb(first.level, text_bytes, val_bpb),
        rare_bpb=honesty.rare_bound_nats * per_token,
        charge_bpb=honesty.charge_nats * per_token,
        losses=losses,
    )


def _claim(
    job: Job,
    tier: Tier,
    corpus: Corpus,
    tokens: Tokens,
    rng: np.random.Generator,
    progress: Callable[[Values], None],
) -> _Claim:
    """Run the first pass; raises Refused."""
    started = time.monotonic()
    with scoring_session(job, corpus.manifest.vocab_size, tier.score_wall_seconds) as (scorer, running):
        scorer.reset()  # answered when the model is loaded
        loaded, load_cpu_seconds = time.monotonic(), running.cpu_seconds()
        losses = first_pass(scorer, tokens, rng, tier.largest_block, progress)
        wall_seconds, cpu_seconds = time.monotonic() - started, running.cpu_seconds()
    _require_within(job.limits, wall_seconds, cpu_seconds)
    return _Claim(losses, loaded - started, load_cpu_seconds, wall_seconds, cpu_seconds)


def _prefix(tier: Tier, count: int, rng: np.random.Generator) -> int:
    """Draw how many of `count` tokens a partial audit reads."""
    return min(max(int(tier.audit_tokens * rng.uniform(*PREFIX_RANGE)), 2), count)


def _audit(
    job: Job,
    tier: Tier,
    vocab_size: int,
    tokens: Tokens,
    losses: Values,
    rng: np.random.Generator,
    reference: Values | None,
    prefix: int,
) -> Honesty:
    """Run the second pass over the first `prefix` tokens; raises Refused."""
    probes = max(int(tier.audit_positions * max(prefix / len(tokens), MIN_POSITIONS_SHARE)), 1)
    with scoring_session(job, vocab_size, tier.score_wall_seconds, phase="proof") as (scorer, _):
        return audit(scorer, tokens, losses, rng, probes, reference, prefix)


def _require_small_bias(bias_bpb: float, limit_bpb: float, positions: int) -> None:
    """Raise Refused if the predictions leave room for too large a systematic bias of the losses."""
    if not bias_bpb <= limit_bpb:
        message = f"losses and predictions differ by up to {bias_bpb:.5f} bpb over {positions} positions"
        raise Refused(State.DISHONEST, f"{message}, expected at most {limit_bpb}")


def _require_within(limits: Limits, wall_seconds: float, cpu_seconds: float) -> None:
    """Raise Refused for a limit that was exceeded between two polls of the supervisor."""
    for what, used, limit in (("wall", wall_seconds, limits.wall_seconds), ("cpu", cpu_seconds, limits.cpu_seconds)):
        if used > limit:
            message = f"score: got {used:.1f} {what} seconds, expected at most {limit:.1f}"
            raise Refused(State.TIMEOUT_SCORE, message, spent={f"score_{what}_seconds": (used, limit)})


def _with_partial_score(refusal: Refused, losses: Values, sizes: Sizes, reference: Values | None) -> Refused:
    """Add the claimed value so far to a refusal by a limit; with a reference it is an estimate for the whole text.

    Four digits, and nothing if the claim is absurd: it is not a measurement, and must not carry text.
    """
    count = len(losses) - 1
    claimed, text_bytes = losses[1:].astype(np.float64), int(sizes[:count].sum())
    if not text_bytes or float(claimed.max()) > MAX_CLAIMED_NATS:
        return refusal
    val_bpb, delta_bpb, difference = bits_per_byte(float(claimed.sum()), text_bytes), None, ""
    if reference is not None:
        expected = reference.astype(np.float64)[1:]
        delta_bpb = round(bits_per_byte(float((claimed - expected[:count]).sum()), text_bytes), 4)
        val_bpb = bits_per_byte(float(expected.sum()), int(sizes.sum())) + delta_bpb
        difference = f", {delta_bpb:+.4f} against the incumbent"
    value = f"{val_bpb:.4f} bpb{difference} after {count / len(sizes):.0%} of the text, claimed but not audited"
    return Refused(refusal.verdict, f"{refusal}; {value}", round(val_bpb, 4), delta_bpb, refusal.spent)

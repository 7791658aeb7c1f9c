"""The second conversation: are the losses those of one normalised, causal distribution, and how far off can they be?

A fresh process reads the stream again, with other cuts. At places the program cannot foresee it must put a whole
distribution on the table before it sees the token. Each distribution must sum to one, the loss of the token must
be what the distribution said, and every loss must be the one of the first conversation. What still differs within the
tolerance is measured and charged; what was met at no place is bounded (preflight/places.py).
"""

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from data.errors import Refused
from data.shards import Tokens
from data.state import State
from preflight import places as drawn
from preflight.conversation import Conversation, Values

ROUNDING_NATS = 1e-3  # two float32 sums in another order differ far less; the measured noise is added on top
NOISE_LIMIT_NATS = 5e-3  # bf16 and atomic sums move a loss by about 1e-3; more is not rounding
LONGEST = 32_768.0  # tokens of a block: what the places cut is short already
SUM_TOLERANCE = 1e-4  # a softmax in float32 sums to one far closer, however noisy what went into it


@dataclass(frozen=True)
class Honesty:
    """What agreement proves, in nats per token unless named otherwise."""

    places: int  # distributions demanded
    tokens: int  # losses compared between the two conversations
    noise_nats: float  # largest difference between two runs of one stretch with the same cuts
    largest_difference_nats: float  # over all comparisons
    smooth_bound_nats: float  # how far claimed losses plus the charge can be off, 99 %, by lies within the tolerance
    rare_share: float  # share of tokens on which a larger lie would have been met with probability 99 %
    rare_bound_nats: float  # that share, had each of those tokens been worth a uniform guess
    # What ledgers of before do not have:
    gap_nats: float = 0.0  # promised minus claimed, the normaliser included: an estimate for all tokens
    charge_nats: float = 0.0  # the gap and its error, never below zero: added to what was claimed
    rare_gain_nats: float | None = None  # of the gain claimed over the reference, what may rest on larger lies
    unread_share: float = 0.0  # of the stream: nothing is proved of it
    unread_bound_nats: float = 0.0  # the gain claimed there; without a reference, the whole loss


def prove(
    conversation: Conversation,
    tokens: Tokens,
    losses: Values,
    rng: np.random.Generator,
    places: int,
    reference: Values | None = None,
    prefix: int | None = None,
    repeat: int = 1024,
) -> Honesty:
    """Hold the second conversation over `tokens`, whose first losses are known; raises Refused with a witness.

    The scorer must be a process that has never seen the stream: one that remembers it can predict it. `reference`
    holds losses of the same tokens that a gain is claimed over; with `prefix` only so many tokens are read.
    """
    unread = slice(min(prefix or len(tokens), len(tokens)), None)
    unread_nats = _claimed(losses[unread], None if reference is None else reference[unread]) / max(len(tokens) - 1, 1)
    share = 1.0 - unread.start / len(tokens)
    tokens, losses = tokens[: unread.start], losses[: unread.start]
    reference = None if reference is None else reference[: unread.start]
    asked = drawn.draw(losses, reference, places, rng)
    at = np.unique(asked.chosen)
    cuts = _cuts(len(tokens), at, rng)
    second, tables = _read(conversation, tokens, cuts, set(at.tolist()))
    stretch = [cut for cut in cuts if cut <= max(repeat, cuts[1])]  # repeated last: what is remembered cannot help
    again, _ = _read(conversation, tokens[: stretch[-1]], stretch, set())
    noise = float(np.abs(again - second[: len(again)]).max())
    if not noise <= NOISE_LIMIT_NATS:
        message = f"got losses that move by {noise:.4g} nats when a stretch is repeated with the same cuts"
        raise Refused(State.DISHONEST, f"{message}, expected at most {NOISE_LIMIT_NATS}")
    tolerance = ROUNDING_NATS + 2.0 * noise

    promised = {int(place): _promised(place, tokens, tables[int(place)], second, losses, tolerance) for place in at}
    differences = np.abs(second.astype(np.float64) - losses)
    worst = int(differences.argmax())
    if not differences[worst] <= tolerance:
        _refuse(worst, "a first loss of", float(losses[worst]), "with other cuts", float(second[worst]), None)

    gaps = np.array([promised[int(place)] - float(losses[place]) for place in asked.chosen])
    gap = drawn.gap(gaps, asked, tolerance)
    missed, uniform = asked.missed_share, float(np.log(conversation.vocab_size))
    rare_share, gain = missed / asked.even_share, asked.claimed_gain_nats
    return Honesty(
        places=len(asked.chosen),
        tokens=len(tokens),
        noise_nats=noise,
        largest_difference_nats=float(max(differences.max(), np.abs(gaps).max())),
        smooth_bound_nats=max(gap.bound - gap.charge, 0.0),
        rare_share=rare_share,
        rare_bound_nats=rare_share * uniform,
        gap_nats=gap.mean,
        charge_nats=gap.charge,
        rare_gain_nats=None if gain is None else missed / drawn.GAIN * gain,
        unread_share=share,
        unread_bound_nats=unread_nats,
    )


def _claimed(losses: Values, reference: Values | None) -> float:
    """What losses gain over a reference, summed; all of them where there is none."""
    gain = losses if reference is None else reference - losses
    return float(np.maximum(gain.astype(np.float64), 0.0).sum())


def _promised(place: int, tokens: Tokens, table: Values, second: Values, losses: Values, tolerance: float) -> float:
    """The loss that the distribution on the table says, its normaliser included; raises Refused if others differ."""
    token = int(tokens[place])
    total = float(np.exp(np.minimum(table.astype(np.float64), 700.0)).sum())
    if not abs(total - 1.0) <= SUM_TOLERANCE:
        _refuse(place, "probabilities that sum to", total, "", 1.0, table)
    promised = float(np.log(total)) - float(table[token])
    for name, found in (
        ("this conversation's loss", second[place]),
        ("the first conversation's loss", losses[place]),
    ):
        if not abs(float(found) - promised) <= tolerance:
            _refuse(place, f"{name} of token {token}", float(found), "predict said", promised, table)
    return promised


def _cuts(count: int, places: npt.NDArray[np.int64], rng: np.random.Generator) -> list[int]:
    """Where blocks begin: 0, then random steps of very different length, and on both sides of each place."""
    steps = np.exp(rng.uniform(0.0, np.log(LONGEST), size=count)).astype(np.int64) + 1
    ends = np.cumsum(steps)
    inner = np.concatenate([ends[ends < count], places, places + 1])
    return sorted({0, count, *(int(cut) for cut in inner if cut < count)})


def _read(
    conversation: Conversation, tokens: Tokens, cuts: list[int], places: set[int]
) -> tuple[Values, dict[int, Values]]:
    """Losses of all tokens read in these blocks, and the distribution demanded before each place."""
    conversation.reset()
    losses, tables = [], {}
    for start, end in zip(cuts, cuts[1:], strict=False):
        if start in places:
            tables[start] = conversation.predict()
        losses.append(conversation.observe(tokens[start:end]))
    return np.concatenate(losses), tables


def _refuse(place: int, what: str, found: float, against: str, expected: float, table: Values | None) -> NoReturn:
    terms = ""
    if table is not None:
        top = np.argsort(table)[::-1][:3]
        terms = "; largest terms " + ", ".join(f"p({token})={np.exp(table[token]):.4g}" for token in top)
    witness = f"at token {place}: got {what} {found:.6f}, expected {against} {expected:.6f}".replace("  ", " ")
    raise Refused(State.DISHONEST, witness + terms)

"""The second conversation: are the losses those of one normalised, causal distribution, and how far off can they be?

A fresh process reads the stream again, with other cuts. At places the program cannot foresee it must put a whole
distribution on the table before it sees the token. Each distribution must sum to one, the loss of the token must
be what the distribution said, and every loss must be the one of the first conversation. Agreement bounds a lie:
a smooth one by the mean difference and its error, a rare one by the number of places tried.
"""

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from data.errors import Refused
from data.shards import Tokens
from data.state import State
from preflight.conversation import Conversation, Values

ROUNDING_NATS = 1e-3  # two float32 sums in another order differ far less; the measured noise is added on top
NOISE_LIMIT_NATS = 5e-3  # bf16 and atomic sums move a loss by about 1e-3; more is not rounding
SUM_TOLERANCE = 1e-4  # a softmax in float32 sums to one far closer, however noisy what went into it
CONFIDENCE_Z = 2.576  # two-sided 99 %
MISSED = 0.01  # chance that a rare lie of `rare_share` was met at no place


@dataclass(frozen=True)
class Honesty:
    """What agreement proves, in nats per token unless named otherwise."""

    places: int  # distributions demanded
    tokens: int  # losses compared between the two conversations
    noise_nats: float  # largest difference between two runs of one stretch with the same cuts
    largest_difference_nats: float  # over all comparisons
    smooth_bound_nats: float  # |mean difference| plus its error
    rare_share: float  # share of tokens on which a lie would have been met with probability 99 %
    rare_bound_nats: float  # that share, had each of those tokens been worth a uniform guess


def prove(
    conversation: Conversation,
    tokens: Tokens,
    losses: Values,
    rng: np.random.Generator,
    places: int,
    repeat: int = 1024,
) -> Honesty:
    """Hold the second conversation over `tokens`, whose first losses are known; raises Refused with a witness.

    The scorer must be a process that has never seen the stream: one that remembers it can predict it.
    """
    chosen = np.sort(rng.choice(np.arange(1, len(tokens)), size=min(places, len(tokens) - 1), replace=False))
    cuts = _cuts(len(tokens), chosen, rng)
    second, tables = _read(conversation, tokens, cuts, set(chosen.tolist()))
    stretch = [cut for cut in cuts if cut <= max(repeat, cuts[1])]  # repeated last: what is remembered cannot help
    again, _ = _read(conversation, tokens[: stretch[-1]], stretch, set())
    noise = float(np.abs(again - second[: len(again)]).max())
    if not noise <= NOISE_LIMIT_NATS:
        message = f"got losses that move by {noise:.4g} nats when a stretch is repeated with the same cuts"
        raise Refused(State.DISHONEST, f"{message}, expected at most {NOISE_LIMIT_NATS}")
    tolerance = ROUNDING_NATS + 2.0 * noise

    promised = np.zeros(len(chosen))
    for i, place in enumerate(chosen):
        table, token = tables[int(place)], int(tokens[place])
        total = float(np.exp(np.minimum(table.astype(np.float64), 700.0)).sum())
        if not abs(total - 1.0) <= SUM_TOLERANCE:
            _refuse(int(place), "probabilities that sum to", total, "", 1.0, table)
        promised[i] = -float(table[token])
        for name, found in (
            ("this conversation's loss", second[place]),
            ("the first conversation's loss", losses[place]),
        ):
            if not abs(float(found) - promised[i]) <= tolerance:
                _refuse(int(place), f"{name} of token {token}", float(found), "predict said", promised[i], table)
    differences = np.abs(second.astype(np.float64) - losses)
    worst = int(differences.argmax())
    if not differences[worst] <= tolerance:
        _refuse(worst, "a first loss of", float(losses[worst]), "with other cuts", float(second[worst]), None)

    gaps = promised - losses[chosen]
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else float("inf")
    rare_share = 1.0 - MISSED ** (1.0 / len(chosen))
    return Honesty(
        places=len(chosen),
        tokens=len(tokens),
        noise_nats=noise,
        largest_difference_nats=float(max(differences.max(), np.abs(gaps).max())),
        smooth_bound_nats=abs(float(gaps.mean())) + CONFIDENCE_Z * error,
        rare_share=rare_share,
        rare_bound_nats=rare_share * float(np.log(conversation.vocab_size)),
    )


def _cuts(count: int, places: npt.NDArray[np.int64], rng: np.random.Generator) -> list[int]:
    """Where blocks begin: 0, then random steps of very different length, and on both sides of each place."""
    steps = np.exp(rng.uniform(0.0, np.log(4096.0), size=count)).astype(np.int64) + 1
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

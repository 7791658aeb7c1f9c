"""Where a scorer is asked for whole distributions, and what the answers prove of all the tokens it was not asked at.

Places are drawn one by one, each anew, from a mixture: EVEN of them evenly, GAIN in proportion to the gain that is
claimed over a reference's losses at the same tokens, LOSS in proportion to the loss that is claimed. A lie that buys
much is met in proportion to its share of the gain; one that hides a disaster shows no gain where it stands, and is met
by the even places. The shares are those at which the best liar of either kind gains least (dev/benchmarks/honesty.md).

Let q(t) be the chance of token t, d(t) what the distribution promised, c(t) the loss that was claimed.

- Gap. (d - c) / (n q) at a place drawn by q has the mean of d - c over all tokens (Hansen & Hurwitz 1943). An even
  share e of the mixture keeps 1 / (n q) below 1 / e, and agreement keeps |d - c| below the tolerance, so that
  the empirical Bernstein bound holds (Maurer & Pontil 2009, theorem 4): with probability 1 - D the true gap is at most
  mean + sqrt(2 V ln(2/D) / k) + 7 R ln(2/D) / (3 (k - 1)), where R is the range of the terms.
- Rare lies. Tokens at which d and c do not agree have q together; none was met in k draws. With probability 1 - D
  then q <= 1 - D^(1/k). So they are at most (1 - D^(1/k)) / e of all tokens, and at most (1 - D^(1/k)) / GAIN of the
  claimed gain rests on them. How much they hide has no bound: d may be anything. What is stated counts each as a
  uniform guess.
"""

from dataclasses import dataclass
from math import ceil, log, sqrt

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float32]

EVEN, GAIN, LOSS = 0.6, 0.3, 0.1  # shares of the places; without a reference to gain over, EVEN and LOSS in proportion
MISSED = 0.01  # D: how often a bound may be exceeded
FINEST = 1e-6  # nats
CONFIDENCE_Z = 2.326  # one-sided 99 %


@dataclass(frozen=True)
class Places:
    """Tokens drawn by a mixture; `chosen` (k,) may hold one several times, `weights` (k,) are 1 / (n q)."""

    chosen: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    even_share: float
    claimed_gain_nats: float | None  # mean per token; None without a reference

    @property
    def missed_share(self) -> float:
        """q of what may have been met at no place, with confidence 1 - MISSED."""
        return 1.0 - float(MISSED ** (1.0 / len(self.chosen)))


def draw(losses: Values, reference: Values | None, count: int, rng: np.random.Generator) -> Places:
    """`count` of the tokens 1..n-1 whose losses (n,) are claimed; the first is context and never asked for."""
    claimed = np.maximum(losses[1:].astype(np.float64), 0.0)
    parts = [(EVEN, np.ones(len(claimed))), (LOSS, claimed)]
    gain: float | None = None
    if reference is not None:
        better = np.maximum(reference[1:].astype(np.float64) - losses[1:], 0.0)
        gain = float(better.mean())
        parts.append((GAIN, better))
    chances = np.zeros(len(claimed))
    for share, part in parts:
        total = part.sum()
        chances += share * (part / total if total > 0 else 1.0 / len(part))
    cumulated = np.cumsum(chances)
    found = np.searchsorted(cumulated, rng.random(count) * cumulated[-1], side="right")
    found = np.sort(np.minimum(found, len(claimed) - 1))
    return Places(
        found + 1, 1.0 / (len(claimed) * chances[found] / cumulated[-1]), EVEN / sum(share for share, _ in parts), gain
    )


@dataclass(frozen=True)
class Gap:
    """Promised minus claimed, mean over all tokens, in nats: an estimate, its standard error, and its 99 % bound."""

    mean: float
    error: float
    bound: float

    @property
    def charge(self) -> float:
        """What is added to a claimed mean: the gap and the error of measuring it, which the scorer's noise makes.

        In steps of FINEST and never less than it is, but for a tenth of one: that is the order of sums, and equal
        losses shall stay equal.
        """
        return FINEST * ceil(max((self.mean + CONFIDENCE_Z * self.error) / FINEST - 0.1, 0.0))


def gap(differences: npt.NDArray[np.float64], places: Places, tolerance: float) -> Gap:
    """From d - c (k,) at the places, each within `tolerance`."""
    terms = differences * places.weights
    count = len(terms)
    variance = float(terms.var(ddof=1)) if count > 1 else float("inf")
    reach = 2.0 * tolerance / places.even_share
    surprise = log(2.0 / MISSED)
    bound = terms.mean() + sqrt(2.0 * variance * surprise / count) + 7.0 * reach * surprise / (3.0 * max(count - 1, 1))
    return Gap(float(terms.mean()), sqrt(variance / count), float(bound))

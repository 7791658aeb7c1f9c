"""Sampling of probe positions, and the error bounds that the answers at them give for all tokens.

At each probe position the scorer must state its whole distribution. Positions are drawn independently, with
replacement, from a mixture: EVEN of them uniformly, GAIN in proportion to the gain claimed over a reference's losses
at the same tokens, LOSS in proportion to the claimed loss. Tampering that gains much is detected in proportion to its
share of the gain; tampering that hides a very high loss shows no gain at its own position, and is detected by the
uniform share. The shares minimize what the best tampering of either kind can gain (dev/benchmarks/audit.md).

Let q(t) be the probability of token t, d(t) the loss its distribution promised, c(t) the loss that was claimed.

- Gap (systematic bias within the tolerance). (d - c) / (n q) at a position drawn from q has the mean of d - c over all
  tokens as its expectation (Hansen & Hurwitz 1943). A uniform share e of the mixture keeps 1 / (n q) below 1 / e, and
  agreement keeps |d - c| below the tolerance, so the empirical Bernstein bound holds (Maurer & Pontil 2009, theorem 4):
  with probability 1 - D the true gap is at most mean + sqrt(2 V ln(2/D) / k) + 7 R ln(2/D) / (3 (k - 1)), where R is
  the range of the terms.
- Sparse tampering beyond the tolerance. Let the tokens at which d and c disagree have probability q in total. If k
  draws hit none of them, then with probability 1 - D q <= 1 - D^(1/k). They are thus at most (1 - D^(1/k)) / e of all
  tokens, and at most (1 - D^(1/k)) / GAIN of the claimed gain rests on them. The amount they hide has no bound, since d
  can be anything; the stated bound counts each as a uniform guess.
"""

from dataclasses import dataclass
from math import ceil, log, sqrt

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float32]

EVEN, GAIN, LOSS = 0.6, 0.3, 0.1  # mixture weights; without a reference EVEN and LOSS are rescaled to 1
DELTA = 0.01  # D: probability with which a bound may be exceeded
CHARGE_STEP_NATS = 1e-6
CONFIDENCE_Z = 2.326  # one-sided 99 %


@dataclass(frozen=True)
class ProbePositions:
    """Tokens drawn from the mixture; `chosen` (k,) may repeat a token, `weights` (k,) are 1 / (n q)."""

    chosen: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    even_share: float
    claimed_gain_nats: float | None  # mean per token; None without a reference

    @property
    def missed_share(self) -> float:
        """Largest total probability of tokens that all draws may have missed, with confidence 1 - DELTA."""
        return 1.0 - float(DELTA ** (1.0 / len(self.chosen)))


def draw(losses: Values, reference: Values | None, count: int, rng: np.random.Generator) -> ProbePositions:
    """Draw `count` of the tokens 1..n-1 with claimed losses (n,); token 0 is context and is never probed."""
    claimed = np.maximum(losses[1:].astype(np.float64), 0.0)
    parts = [(EVEN, np.ones(len(claimed))), (LOSS, claimed)]
    gain: float | None = None
    if reference is not None:
        better = np.maximum(reference[1:].astype(np.float64) - losses[1:], 0.0)
        gain = float(better.mean())
        parts.append((GAIN, better))
    probabilities = np.zeros(len(claimed))
    for share, part in parts:
        total = part.sum()
        probabilities += share * (part / total if total > 0 else 1.0 / len(part))
    cumulative = np.cumsum(probabilities)
    drawn = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    drawn = np.sort(np.minimum(drawn, len(claimed) - 1))
    return ProbePositions(
        chosen=drawn + 1,
        weights=1.0 / (len(claimed) * probabilities[drawn] / cumulative[-1]),
        even_share=EVEN / sum(share for share, _ in parts),
        claimed_gain_nats=gain,
    )


@dataclass(frozen=True)
class Gap:
    """Promised minus claimed loss, mean over all tokens, in nats: estimate, standard error and 99 % bound."""

    mean: float
    standard_error: float
    bound: float

    @property
    def charge(self) -> float:
        """Nats to add to a claimed mean: the gap plus its sampling error, which the scorer's own noise causes.

        Rounded up to a multiple of CHARGE_STEP_NATS, except for the last tenth of a step: differences of that size come
        from the order of summation, and equal losses must stay equal.
        """
        upper = self.mean + CONFIDENCE_Z * self.standard_error
        return CHARGE_STEP_NATS * ceil(max(upper / CHARGE_STEP_NATS - 0.1, 0.0))


def gap(differences: npt.NDArray[np.float64], probed: ProbePositions, tolerance: float) -> Gap:
    """Estimate the gap from d - c (k,) at the probe positions, each within `tolerance`."""
    terms = differences * probed.weights
    count = len(terms)
    variance = float(terms.var(ddof=1)) if count > 1 else float("inf")
    term_range = 2.0 * tolerance / probed.even_share
    log_term = log(2.0 / DELTA)
    sampling, ranging = sqrt(2.0 * variance * log_term / count), 7.0 * term_range * log_term / (3.0 * max(count - 1, 1))
    return Gap(float(terms.mean()), sqrt(variance / count), float(terms.mean() + sampling + ranging))

"""Online n-grams: back-off probabilities counted in the scored text, mixed into the model's distribution.

p' = (1 - w) p + w p_ngram for every token. The weight w knows the model's entropy H and the order n of the longest
context that came often enough, never the token: (low + (high - low) sigmoid(2 (H - center_n))) times a multiplier_n
(#850's form, which there goes with hashed counts of the target alone, that sum to hundreds).
"""

import numpy as np

from base.config import Eval
from base.evaluate.experts.counts import ngram_counts

MOST = 0.95


class NgramMixture:
    """Tokens in, evidence out: probabilities, order of the longest context, how often that came."""

    def __init__(self, knobs: Eval, vocab_size: int):
        self.knobs, self.vocab_size = knobs, vocab_size
        parts = [list(map(float, text.split(","))) for text in (knobs.ngram_centers, knobs.ngram_multipliers)]
        if any(len(part) < knobs.ngram_order - 1 for part in parts):
            raise ValueError(f"expected ngram_centers and ngram_multipliers of orders 2 to {knobs.ngram_order}")
        self.centers, self.multipliers = (np.array([0.0, 0.0, *part]) for part in parts)  # by order
        self.reset()

    def reset(self) -> None:
        knobs = self.knobs
        self.counts = ngram_counts(
            knobs.ngram_order, self.vocab_size, knobs.ngram_smoothing, knobs.ngram_strength, knobs.ngram_least,
            knobs.ngram_slots,
        )  # fmt: skip

    def observe(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probability (n, 1) of each token given those before it, and the order (n,) of its context; counts it."""
        probabilities, orders, _ = self.counts.observe(tokens.astype(np.uint16))
        return probabilities[:, None], orders

    def predict(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (1, V) of the next token, and the order (1,) of its context."""
        probabilities, orders, _ = self.counts.predict()
        return probabilities[None], orders

    def mix(self, logp, probabilities, orders, entropy):
        """logp (n, K) and n-gram probabilities (n, K) of the same tokens -> logp (n, K); orders and entropy (n,)."""
        knobs = self.knobs
        above = 1.0 / (1.0 + np.exp(-2.0 * (entropy - self.centers[orders])))
        weight = knobs.ngram_weight_low + (knobs.ngram_weight_high - knobs.ngram_weight_low) * above
        weight = np.where(orders > 0, np.clip(weight * self.multipliers[orders], 0.0, MOST), 0.0)[:, None]
        return np.logaddexp(logp + np.log1p(-weight), np.log(weight * probabilities + 1e-300))

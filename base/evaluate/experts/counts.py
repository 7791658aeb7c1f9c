"""Counts of what followed each context of a stream, by exact keys: the state of the n-gram experts.

In C (base/native.py), or the same in Python where there is no compiler. Tables have a fixed size and take nothing new
once they are seven eighths full; what is counted then stays a distribution.
"""

import numpy as np

from base import native
from base.evaluate.experts import counts_twin

SHORTEST_TABLE = 10  # log2 of its slots


def hint_counts(slots_log2: int) -> "HintCounts | counts_twin.HintCounts":
    return HintCounts(slots_log2) if native.library() else counts_twin.HintCounts(slots_log2)


def ngram_counts(*arguments) -> "NgramCounts | counts_twin.NgramCounts":
    return NgramCounts(*arguments) if native.library() else counts_twin.NgramCounts(*arguments)


class HintCounts:
    """Of each context the token that followed it most often: 18 bytes a slot."""

    def __init__(self, slots_log2: int):
        self.tables = native.HintTables(
            np.zeros(1 << slots_log2, native.CONTEXT),
            np.zeros(1 << max(slots_log2 - 2, SHORTEST_TABLE), np.uint64),
            np.zeros(2, np.int64),
        )

    def follow(
        self, ring: np.ndarray, ends: np.ndarray, lengths: np.ndarray, nexts: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Look up the context ring[ends - lengths : ends] of each token, then count `nexts`, the token that came.

        Args:
            ring: The last symbols of a stream, uint16; symbol i is at i modulo its length.
            ends: int64 (n,).
            lengths: uint8 (n,); 0 is no context.
            nexts: uint16 (n,); None: nothing is counted.

        Returns:
            The token that came most often after the context, or -1; how often it came; how often the context.
        """
        return native.hints_follow(self.tables, ring, ends, lengths, nexts)


class NgramCounts:
    """Back-off probabilities over contexts of one to `orders` - 1 tokens.

    p_1(v) = (c(v) + 1) / (N + V), then for each longer context that was seen C times before T different tokens:
    dirichlet: p_n(v) = (c(v) + k p_(n-1)(v)) / (C + k), k the strength
    witten_bell: p_n(v) = (c(v) + T p_(n-1)(v)) / (C + T)
    kneser_ney: p_n(v) = (max(c(v) - d, 0) + d T p_(n-1)(v)) / C, d the strength; shorter contexts count in how many
    longer ones a token was seen (Kneser & Ney 1995)
    Each sums to one over v if p_(n-1) does. A slot takes 24 bytes for each order and 32 for followers.
    """

    def __init__(self, order: int, vocab_size: int, smoothing: str, strength: float, least: int, slots_log2: int):
        if not 2 <= order <= native.MAX_ORDERS + 1:
            raise ValueError(f"got n-grams of {order} tokens, expected 2 to {native.MAX_ORDERS + 1}")
        self.smoothing, self.strength, self.least = native.SMOOTHINGS.index(smoothing), strength, least
        self.tables = native.NgramTables(
            np.zeros((order - 1, 1 << slots_log2), native.GRAM),
            np.zeros(2 << slots_log2, native.FOLLOWER),
            np.zeros(native.MAX_ORDERS + 1, np.int64),
            np.zeros(vocab_size + 1, np.uint32),
        )
        self.context = np.zeros(0, np.uint16)

    def observe(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Probability of each token (n,) given those before it, then count it.

        Also the order of the longest context that came `least` times (0: none), and how often it came.
        """
        joined = np.concatenate([self.context, tokens])
        found = native.ngrams_follow(
            self.tables, self.smoothing, self.least, self.strength, joined, len(self.context), False
        )
        self.context = joined[max(len(joined) - native.MAX_ORDERS, 0) :]
        return found

    def predict(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Probabilities (V,) of the next token; order and count as in `observe`, of one position."""
        return native.ngrams_follow(self.tables, self.smoothing, self.least, self.strength, self.context, 0, True)

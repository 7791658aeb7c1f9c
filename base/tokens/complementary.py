"""Complementary training: tokens that bigram counts predict get a smaller loss weight (#803, #850).

It made every neural score worse where it was measured (1.1724 to 1.1758 against about 1.138 for its family) and paid
only together with an n-gram mixture that was no distribution. It is included to be measured.
"""

import torch
from torch import Tensor

from base.runtime import Runtime

MIN_WEIGHT = 0.1


class ComplementaryWeights:
    """Counts of pairs in earlier batches, over all ranks: V^2 integers, 0.5 GB at a vocabulary of 8,192."""

    def __init__(self, alpha: float, vocab_size: int, runtime: Runtime):
        self.alpha, self.vocab_size, self.runtime = alpha, vocab_size, runtime
        self.pair_counts = torch.zeros(vocab_size * vocab_size, dtype=torch.int64, device=runtime.device)
        self.token_counts = torch.zeros(vocab_size, dtype=torch.int64, device=runtime.device)

    def weights(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """max(.1, 1 - alpha c(x, y) / (c(x) + 1)) (B, T), divided by its mean over the global batch; then counts it.

        #803 leaves out the division, which lowers the learning rate as the counts grow.
        """
        pairs = tokens * self.vocab_size + targets
        probabilities = self.pair_counts[pairs] / (self.token_counts[tokens] + 1)
        weights = (1.0 - self.alpha * probabilities).clamp_min(MIN_WEIGHT)
        mean = self.runtime.all_reduce_(weights.mean()) / self.runtime.world
        self.count(pairs.flatten())
        return weights / mean

    def count(self, pairs: Tensor) -> None:
        if self.runtime.world > 1:
            pairs = self.runtime.all_gather(pairs)()
        ones = torch.ones_like(pairs)
        self.pair_counts.index_add_(0, pairs, ones)
        self.token_counts.index_add_(0, pairs // self.vocab_size, ones)

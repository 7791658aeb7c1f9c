"""Online calibration of logits: a bias per token that follows how often tokens come and how often they were expected.

m and r are running means over chunks of the scored tokens' counts and of the probabilities that the model, bias
included, gave them; the bias is ln(m / r) within +-2 (#962; techniques E20). It changes after whole chunks alone.
"""

import torch
from torch import Tensor

from base.runtime import Runtime

SMOOTHING, MOST, FIRST_TOKENS = 1e-8, 2.0, 50_000


class OnlineBias:
    """`bias` (V,) is added to the logits; it stays 0 for the first 50,000 tokens."""

    def __init__(self, rate: float, vocab_size: int, runtime: Runtime):
        self.rate, self.runtime = rate, runtime
        self.counts, self.expected, self.chunk_expected, self.bias = torch.zeros(4, vocab_size, device=runtime.device)
        self.reset()

    def reset(self) -> None:
        for tensor in (self.counts, self.expected, self.chunk_expected, self.bias):
            tensor.zero_()
        self.seen = 0

    def expect(self, logp: Tensor) -> None:
        """Note the log-probabilities (n, V) of scored positions, of this rank's share of a chunk."""
        self.chunk_expected += logp.exp().sum(dim=0)

    def update(self, tokens: Tensor) -> None:
        """End a chunk whose tokens (n,) were expected as noted."""
        expected = self.runtime.all_reduce_(self.chunk_expected.clone())
        counts = torch.bincount(tokens, minlength=len(self.counts)).float()
        self.counts.lerp_(counts, self.rate)
        self.expected.lerp_(expected, self.rate)
        self.chunk_expected.zero_()
        self.seen += len(tokens)
        if self.seen >= FIRST_TOKENS:
            shares = [mean / mean.sum() + SMOOTHING for mean in (self.counts, self.expected)]
            self.bias.copy_((shares[0] / shares[1]).log().clamp(-MOST, MOST))

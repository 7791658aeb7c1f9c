"""Hashed n-gram embeddings, added to the token embedding: BigramHash and EngramLite."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base.config import Config
from base.model.layers import Linear, constant, orthogonal, parameter, rms_norm

BIGRAM_PRIMES = (36_313, 27_191)
# Two hashes of two tokens and two of three: n-grams that collide in one table rarely do in the other.
ENGRAM_PRIMES = ((36_313, 27_191), (51_647, 81_929), (36_313, 27_191, 51_647), (51_647, 81_929, 131_071))


def hash_ngrams(tokens: Tensor, primes: tuple[int, ...], buckets: int) -> Tensor:
    """Tokens (B, T) -> buckets (B, T): XOR of prime_j * x_(t-j), modulo buckets - 1.

    The first positions of a row, which lack a full n-gram, all go to the last bucket.
    """
    mixed = tokens * primes[0]
    for lag, prime in enumerate(primes[1:], start=1):
        mixed = mixed ^ (prime * F.pad(tokens, (lag, 0))[:, : tokens.size(1)])
    bucket = mixed % (buckets - 1)
    position = torch.arange(tokens.size(1), device=tokens.device)
    return torch.where(position < len(primes) - 1, buckets - 1, bucket)


class BigramHash(nn.Module):
    """Tokens (B, T) -> s P E[hash(x_t, x_(t-1))] (B, T, D); E = 0, P orthogonal, s = .05 (#569, sizes to #1302).

    With E and P both at 0 neither would get a gradient. The seeds say 0 for both, but their model-wide loop draws P
    again: orthogonal times projection_gain, 1 in #1302 and 1/sqrt(2L) in #569.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.table = parameter(config.embed.bigram_buckets, config.embed.bigram_dim, init=constant(0.0), role="table")
        gain = config.embed.projection_gain
        self.projection = Linear(config.embed.bigram_dim, config.model.model_dim, orthogonal(gain), "projection")
        self.scale = parameter(1, init=constant(0.05))

    def forward(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        bigrams = F.embedding(hash_ngrams(tokens, BIGRAM_PRIMES, len(self.table)), self.table)
        return self.scale.to(dtype) * self.projection(bigrams.to(dtype))


class EngramLite(nn.Module):
    """Tokens (B, T), embeddings x (B, T, D) -> sigmoid(G rms(x)) * P [E_1 .. E_4] (B, T, D): gated 2- and 3-grams.

    The idea is from #1440, whose stored script lacks it: hashes, norm and initial values are ours. Each of four hashes
    indexes one table; E = 0, P orthogonal, G = 0, so every channel's gate starts at one half.
    """

    def __init__(self, config: Config):
        super().__init__()
        dim, width = config.model.model_dim, config.embed.engram_dim
        self.buckets = config.embed.engram_buckets
        self.table = parameter(len(ENGRAM_PRIMES) * self.buckets, width, init=constant(0.0), role="table")
        self.projection = Linear(len(ENGRAM_PRIMES) * width, dim, role="projection")
        self.gate = Linear(dim, dim, init=constant(0.0))

    def forward(self, tokens: Tensor, x: Tensor) -> Tensor:
        rows = [hash_ngrams(tokens, primes, self.buckets) + i * self.buckets for i, primes in enumerate(ENGRAM_PRIMES)]
        ngrams = F.embedding(torch.stack(rows, dim=-1), self.table).flatten(-2).to(x.dtype)
        return torch.sigmoid(self.gate(rms_norm(x))) * self.projection(ngrams)

"""Differential attention (arXiv 2410.05258): what two attention maps agree on is noise, and is taken off."""

import math

from torch import Tensor, nn

from base.model.flash import causal_attention
from base.model.layers import normal, parameter, rms_norm


class Differential(nn.Module):
    """q (B, T, 2H, Dh/2), k (B, T, 2K, Dh/2), v (B, T, K, Dh) -> (softmax(q1 k1) - lambda softmax(q2 k2)) v, normed.

    Even heads of q and k make the first map, odd ones the second; each is normed and turned by itself.
    lambda = exp(a b) - exp(c d) + lambda0 with four learned vectors of Dh/2 and lambda0 = .8 - .6 exp(-.3 l); every
    head's output (B, T, H, Dh) is normed and scaled by 1 - lambda0.
    """

    def __init__(self, head_dim: int, layer: int):
        super().__init__()
        self.start = 0.8 - 0.6 * math.exp(-0.3 * layer)
        self.vectors = parameter(4, head_dim // 2, init=normal(0.1))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None = None) -> Tensor:
        one, two = (causal_attention(q[:, :, half::2], k[:, :, half::2], v, documents) for half in range(2))
        a, b, c, d = self.vectors
        share = (a @ b).exp() - (c @ d).exp() + self.start
        return (1.0 - self.start) * rms_norm(one - share.to(one.dtype) * two)

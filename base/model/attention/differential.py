"""Differential attention (arXiv 2410.05258): the difference of two attention maps, which cancels common noise."""

import math

from torch import Tensor, nn

from base.model.attention.flash import causal_attention
from base.model.layers import normal, parameter, rms_norm


class Differential(nn.Module):
    """q (B, T, 2H, Dh/2), k (B, T, 2K, Dh/2), v (B, T, K, Dh) -> (softmax(q1 k1) - lambda softmax(q2 k2)) v, normed.

    Even heads of q and k make the first map, odd ones the second; each is normed and rotated by itself.
    lambda = exp(a b) - exp(c d) + lambda0 with four learned vectors of Dh/2 and lambda0 = .8 - .6 exp(-.3 l); every
    head's output (B, T, H, Dh) is normed and scaled by 1 - lambda0.
    """

    def __init__(self, head_dim: int, layer: int):
        super().__init__()
        self.lambda_init = 0.8 - 0.6 * math.exp(-0.3 * layer)
        self.vectors = parameter(4, head_dim // 2, init=normal(0.1))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None = None) -> Tensor:
        first, second = (causal_attention(q[:, :, half::2], k[:, :, half::2], v, documents) for half in range(2))
        a, b, c, d = self.vectors
        weight = (a @ b).exp() - (c @ d).exp() + self.lambda_init
        return (1.0 - self.lambda_init) * rms_norm(first - weight.to(first.dtype) * second)

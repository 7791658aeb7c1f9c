"""Additions to a layer's values: a shared embedding of the token (VE128), and the first layer's values (VRL)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base.config import Config
from base.model.layers import Linear, constant, normal, orthogonal, parameter


class ValueEmbedding(nn.Module):
    """Tokens (B, T) -> (B, T, K Dh), once for all layers that read it (#374); each scales it by a gain of its own.

    The table is N(0, .01^2), the projection orthogonal times projection_gain, the shared scale .1.
    """

    def __init__(self, config: Config, kv_dim: int):
        super().__init__()
        dim = config.attention.ve_dim
        self.table = parameter(config.model.vocab_size, dim, init=normal(0.01), role="table")
        self.projection = Linear(dim, kv_dim, orthogonal(config.embed.projection_gain), "projection")
        self.scale = parameter(1, init=constant(0.1))

    def forward(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        return self.scale.to(dtype) * self.projection(F.embedding(tokens, self.table).to(dtype))


class ValueResidual(nn.Module):
    """This layer's values v and the first layer's v0, both (B, T, K Dh) -> v with v0 mixed in (arXiv 2410.17897).

    additive: v + sigmoid(a) v0, a = 0 (#569)
    convex: (1 - sigmoid(a)) v + sigmoid(a) v0, a = -1.5 (many forks)
    softmax: l0 v0 + l1 v with l = softmax of a learned pair that starts even (#850)
    """

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        init = {"additive": 0.0, "convex": -1.5, "softmax": 0.5}[kind]
        self.mix = parameter(2 if kind == "softmax" else 1, init=constant(init))

    def forward(self, v: Tensor, first_values: Tensor) -> Tensor:
        if self.kind == "softmax":
            weights = self.mix.softmax(dim=0).to(v.dtype)
            return weights[0] * first_values + weights[1] * v
        gate = torch.sigmoid(self.mix).to(v.dtype)
        return v + gate * first_values if self.kind == "additive" else torch.lerp(v, first_values, gate)

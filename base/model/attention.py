"""Grouped-query attention with normalised queries and keys (QK-norm) and a learned gain per head."""

import torch
from torch import Tensor, nn

from base.config import Model
from base.model.flash import causal_attention
from base.model.layers import Linear, constant, parameter, rms_norm
from base.model.rotary import Rotary


class Attention(nn.Module):
    """x (B, T, D) -> (B, T, D). Queries and keys are scaled to norm sqrt(Dh), so the gain alone sets the sharpness."""

    def __init__(self, config: Model, max_length: int):
        super().__init__()
        if config.model_dim % config.num_heads or config.num_heads % config.num_kv_heads:
            raise ValueError(
                f"model_dim {config.model_dim}, num_heads {config.num_heads}, num_kv_heads {config.num_kv_heads}: "
                "each must be a multiple of the next"
            )
        self.head_dim = config.model_dim // config.num_heads
        kv_dim = self.head_dim * config.num_kv_heads
        self.q = Linear(config.model_dim, config.model_dim)
        self.k = Linear(config.model_dim, kv_dim)
        self.v = Linear(config.model_dim, kv_dim)
        self.out = Linear(config.model_dim, config.model_dim, init=constant(0.0))
        self.gain = parameter(config.num_heads, init=constant(config.qk_gain))
        self.rotary = Rotary(self.head_dim, max_length, config.rope_base)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (project(x).unflatten(-1, (-1, self.head_dim)) for project in (self.q, self.k, self.v))
        # One pass over queries and keys together: small heads are bound by the number of kernels, not by their work.
        q, k = self.rotary(rms_norm(torch.cat((q, k), dim=2))).split((q.size(2), k.size(2)), dim=2)
        y = causal_attention(q * self.gain.to(q.dtype)[:, None], k, v)
        return self.out(y.flatten(-2))

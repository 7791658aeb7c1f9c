"""PoPE, polar position embedding (arXiv 2509.10534): content sets the length of a channel, position sets its angle."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base.config import Attention
from base.model.layers import constant, parameter

PHASE_INIT = -4.0  # delta = -.11


class PoPE(nn.Module):
    """Queries (B, T, H, Dh) and keys (B, T, K, Dh) -> the same with 2 Dh channels.

    Their product is sum_c softplus(q_c) softplus(k_c) cos((s - t) theta_c + delta_c) for a query at t and a key at s,
    with a frequency per channel (RoPE has one per pair) and a learned phase delta in (-2 pi, 0) per key head. The
    paper clamps delta; one that steps over the edge would never move again, so here it is -2 pi sigmoid(p), p = -4.
    """

    def __init__(self, attention: Attention, head_dim: int, kv_heads: int, length: int):
        super().__init__()
        theta = attention.rope_base ** (-torch.arange(head_dim, dtype=torch.float32) / head_dim)
        angles = torch.outer(torch.arange(length, dtype=torch.float32), theta)[:, None, :]  # (T, 1, Dh)
        self.register_buffer("angles", angles, persistent=False)
        self.phase = parameter(kv_heads, head_dim, init=constant(PHASE_INIT))

    def forward(self, q: Tensor, k: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
        """Queries and keys of tokens at positions `first` and after."""
        angles = self.angles[first : first + q.size(1)]
        return to_cartesian(q, angles), to_cartesian(k, angles + -2 * math.pi * torch.sigmoid(self.phase))


def to_cartesian(x: Tensor, angles: Tensor) -> Tensor:
    length = F.softplus(x)
    return torch.cat((length * angles.cos().to(x.dtype), length * angles.sin().to(x.dtype)), dim=-1)

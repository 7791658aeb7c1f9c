"""Rotary position embedding (RoPE, arXiv 2104.09864), half-split convention."""

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Turns queries and keys (B, T, H, Dh) by angles that grow with the position.

    Tables are made up to `max_length` once: a lazily grown cache would recompile and differ between runs.
    """

    def __init__(self, head_dim: int, max_length: int, base: float):
        super().__init__()
        frequencies = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
        angles = torch.outer(torch.arange(max_length, dtype=torch.float32), frequencies)  # (T, Dh/2)
        self.register_buffer("cos", angles.cos()[:, None, :], persistent=False)
        self.register_buffer("sin", angles.sin()[:, None, :], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        cos, sin = self.cos[: x.size(1)].to(x.dtype), self.sin[: x.size(1)].to(x.dtype)
        one, two = x.chunk(2, dim=-1)
        return torch.cat((one * cos + two * sin, two * cos - one * sin), dim=-1)

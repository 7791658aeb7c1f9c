"""Rotary position embedding (RoPE, arXiv 2104.09864), half-split; partial, and rescaled for longer contexts."""

import torch
from torch import Tensor, nn

from base.config import Attention


def frequencies(attention: Attention, dims: int, length: int) -> Tensor:
    """Radians per token of each of `dims`/2 pairs, for contexts of up to `length` tokens.

    ntk: a larger base, so that the slowest pair turns as far over `length` as it did over rope_train_length. The
    2026-03 seeds train and score at 2,048 with a length of 1,024, which makes their base 22,082 throughout.
    yarn: slow pairs are interpolated, fast ones kept (arXiv 2309.00071; ramp of the 2026-03-24 ternary record).
    """
    base, stretch = attention.rope_base, max(1.0, length / attention.rope_train_length)
    exponent = torch.arange(0, dims, 2, dtype=torch.float32) / dims
    if attention.rope_scaling == "ntk":
        base = base * stretch ** (dims / max(dims - 2, 1))
    theta = base**-exponent
    if attention.rope_scaling == "yarn":
        ramp = ((exponent - 0.25) / 0.75).clamp(0.0, 1.0)
        theta = theta / (ramp * (stretch - 1.0) + 1.0)
    return theta


class Rotary(nn.Module):
    """Rotate the first `dims` channels of queries and keys (B, T, H, Dh) by angles that grow with the position.

    Tables of `length` rows are made once: a cache that grows on demand would recompile and differ between runs.
    """

    def __init__(self, attention: Attention, head_dim: int, length: int):
        super().__init__()
        self.dims = attention.rope_dims or head_dim
        if self.dims % 2 or self.dims > head_dim:
            raise ValueError(f"rope_dims {self.dims}: expected an even number up to the head's {head_dim} channels")
        angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies(attention, self.dims, length))
        self.register_buffer("cos", angles.cos()[:, None, :], persistent=False)  # (T, 1, dims/2)
        self.register_buffer("sin", angles.sin()[:, None, :], persistent=False)

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """Rotate x (B, T, H, Dh), whose tokens are at positions `first` and after."""
        places = slice(first, first + x.size(1))
        cos, sin = self.cos[places].to(x.dtype), self.sin[places].to(x.dtype)
        x1, x2 = x[..., : self.dims].chunk(2, dim=-1)
        rotated = x1 * cos + x2 * sin, x2 * cos - x1 * sin
        return torch.cat(rotated if self.dims == x.size(-1) else (*rotated, x[..., self.dims :]), dim=-1)

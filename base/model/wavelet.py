"""WaveletGPT: causal means over 2, 4, 8, ... tokens on some channels (arXiv 2409.12924)."""

import torch
from torch import Tensor, nn

from base.config import Config
from base.model.layers import constant, parameter, shift


class Wavelet(nn.Module):
    """The last `wavelet_dims` channels of x (B, T, D), in `levels` groups: group k moves to its mean of 2^k tokens.

    x <- x + m (mean - x) with a learned share m = 1 per layer, the paper's form at the start. Only tokens up to t
    enter, fewer at the start of a row; a fork's Haar blocks average over future tokens and so read the answer.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.dims, self.levels = config.embed.wavelet_dims, config.embed.wavelet_levels
        if self.dims % self.levels or self.dims > config.model.model_dim:
            raise ValueError(f"wavelet_dims {self.dims}: expected a multiple of wavelet_levels, at most model_dim")
        self.share = parameter(config.model.num_layers, init=constant(1.0))

    def forward(self, x: Tensor, layer: int) -> Tensor:
        unchanged, averaged = x[..., : -self.dims], x[..., -self.dims :]
        share = self.share[layer].to(x.dtype)
        groups = [
            torch.lerp(group, causal_mean(group, level), share)
            for level, group in enumerate(averaged.chunk(self.levels, -1), start=1)
        ]
        return torch.cat((unchanged, *groups), dim=-1)


def causal_mean(x: Tensor, level: int) -> Tensor:
    """Mean of x (B, T, D) over the last 2^level tokens, fewer at the start; sums double, so it costs `level` adds."""
    total = x
    for k in range(level):
        total = total + shift(total, 2**k)
    count = torch.arange(1, x.size(1) + 1, device=x.device).clamp(max=2**level)
    return total / count[:, None].to(x.dtype)

"""U-Net skips: the outputs of the first half of the layers join the second half, last out first in."""

import torch
from torch import Tensor, nn

from base.config import Config
from base.model.layers import constant, parameter


class UNetSkips(nn.Module):
    """x and the skip s (B, T, D) -> x, with weights of their own for each join.

    plain: x + w s, w (D,) = 1 (the challenge's baseline)
    gated: sigmoid(g) x + (1 - sigmoid(g)) w s, g (D,) = 0, so half and half at the start (#289, #1179)
    """

    def __init__(self, config: Config, joins: int):
        super().__init__()
        dim = config.model.model_dim
        self.weight = nn.ParameterList(parameter(dim, init=constant(1.0)) for _ in range(joins))
        gates = joins if config.residual.unet_skips == "gated" else 0
        self.gate = nn.ParameterList(parameter(dim, init=constant(0.0)) for _ in range(gates))

    def forward(self, x: Tensor, skip: Tensor, join: int) -> Tensor:
        skip = self.weight[join].to(x.dtype) * skip
        if not self.gate:
            return x + skip
        return torch.lerp(skip, x, torch.sigmoid(self.gate[join]).to(x.dtype))

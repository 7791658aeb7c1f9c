"""The squared-ReLU family of MLPs: relu^2 (Primer, arXiv 2109.08668) and LeakyReLU(s)^2 (#493, #549)."""

import torch.nn.functional as F
from torch import Tensor, nn

from base.config import Model
from base.model.layers import Linear, constant


class MLP(nn.Module):
    """x (B, T, D) -> (B, T, D). The square is taken after the leak, so negatives give + s^2 u^2."""

    def __init__(self, config: Model):
        super().__init__()
        hidden = int(config.model_dim * config.mlp_multiple)
        self.slope = config.leaky_slope
        self.up = Linear(config.model_dim, hidden)
        self.down = Linear(hidden, config.model_dim, init=constant(0.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.leaky_relu(self.up(x), self.slope).square())

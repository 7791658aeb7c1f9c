"""The MLPs: LeakyReLU(s)^2 with relu^2 (Primer, arXiv 2109.08668) as s = 0, Star-ReLU, SwiGLU."""

import torch.nn.functional as F
from torch import Tensor, nn

from base.config import Config
from base.model.layers import Linear, constant, orthogonal, parameter


class MLP(nn.Module):
    """x (B, T, D) -> (B, T, D). The square is taken after the leak, so a negative u gives + s^2 u^2 (#493, #549).

    star_relu: a_j relu(u)^2 + b_j per hidden channel, a = 1, b = 0 (arXiv 2210.13452; #505).
    swiglu: silu(G x) * U x with two thirds of the hidden width, for equal parameters (arXiv 2002.05202; #505).
    """

    def __init__(self, config: Config):
        super().__init__()
        model, dim = config.model, config.model.model_dim
        hidden = int(dim * model.mlp_multiple)
        self.activation, self.slope, self.fused = model.activation, model.leaky_slope, config.run.fused_mlp
        if self.activation == "swiglu":
            hidden = round(hidden * 2 / 3 / 8) * 8
            self.gate = Linear(dim, hidden)
        if self.activation == "star_relu":
            self.scale, self.bias = parameter(hidden, init=constant(1.0)), parameter(hidden, init=constant(0.0))
        self.up = Linear(dim, hidden)
        self.down = Linear(hidden, dim, init=constant(0.0) if model.zero_projections else orthogonal())

    def forward(self, x: Tensor) -> Tensor:
        if self.fused and x.is_cuda and self.activation == "leaky_relu2":
            from base.model.kernels.mlp import fused_mlp  # Triton, which a CPU does not have

            return fused_mlp(x, self.up.cast_weight(x.dtype), self.down.cast_weight(x.dtype), self.slope)
        return self.down(self.activate(x))

    def activate(self, x: Tensor) -> Tensor:
        u = self.up(x)
        if self.activation == "swiglu":
            return F.silu(self.gate(x)) * u
        if self.activation == "star_relu":
            return self.scale.to(u.dtype) * F.relu(u).square() + self.bias.to(u.dtype)
        return F.leaky_relu(u, self.slope).square()

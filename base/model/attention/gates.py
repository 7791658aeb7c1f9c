"""Gates on attention: a factor per head on its output, or per channel on its values."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base.config import Config
from base.model.layers import constant, parameter

OPEN_BIAS = 4.0  # sigmoid(4) = .982: the gate starts open


class HeadGate(nn.Module):
    """Block input x (B, T, D) -> a factor per head (B, T, H, 1), on the head's output after XSA.

    dense: sigmoid(W x + b), W = 0, b = 4 (arXiv 2505.06708 G1; #850)
    output: 2 sigmoid(W x[:window]), W = 0, so 1 at the start (#1667)
    sparse: sigmoid(W x[:window] / 2), W = 0, so one half at the start (#1787)
    """

    def __init__(self, config: Config):
        super().__init__()
        heads, self.kind = config.model.num_heads, config.attention.attention_gate
        inputs = config.model.model_dim if self.kind == "dense" else config.attention.gate_window
        self.weight = parameter(heads, inputs, init=constant(0.0), role="gate")
        self.bias = parameter(heads, init=constant(OPEN_BIAS)) if self.kind == "dense" else None

    def forward(self, x: Tensor) -> Tensor:
        z = F.linear(x[..., : self.weight.size(1)], self.weight.to(x.dtype))
        if self.kind == "dense":
            gate = torch.sigmoid(z + self.bias.to(x.dtype))
        else:
            gate = 2.0 * torch.sigmoid(z) if self.kind == "output" else torch.sigmoid(0.5 * z)
        return gate[..., None]


class ValueGate(nn.Module):
    """VGA (arXiv 2510.09017): values v (B, T, K Dh) -> v * sigmoid(W v + b), W = 0, b = 4.

    The paper's point is that values gate themselves. The fork that had it gates by the block's input and starts W at
    ones, so by the sum of all channels.
    """

    def __init__(self, kv_dim: int):
        super().__init__()
        self.weight = parameter(kv_dim, kv_dim, init=constant(0.0), role="gate")
        self.bias = parameter(kv_dim, init=constant(OPEN_BIAS))

    def forward(self, v: Tensor) -> Tensor:
        return v * torch.sigmoid(F.linear(v, self.weight.to(v.dtype), self.bias.to(v.dtype)))

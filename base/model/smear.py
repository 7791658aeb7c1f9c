"""SmearGate: every embedding takes in a little of the token before it."""

import torch
from torch import Tensor, nn

from base.config import Embed
from base.model.documents import BOS
from base.model.layers import constant, parameter, shift

WINDOW = 12  # channels that the narrow gate reads


class VectorSmear(nn.Module):
    """After the norm: x_t <- (1 - sigmoid(g)) x_t + sigmoid(g) x_(t-1), g (D,) = 0; nothing comes before the first."""

    def __init__(self, config: Embed, dim: int):
        super().__init__()
        self.inside = config.smear_documents
        self.gate = parameter(dim, init=constant(0.0))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        share = torch.sigmoid(self.gate).to(x.dtype)
        return (1.0 - share) * x + share * previous(x, tokens, self.inside)


class NarrowSmear(nn.Module):
    """Before the norm: x_t <- x_t + s sigmoid(w . x_t[:12]) x_(t-1), w = 0, s = 0; 13 parameters (#1667)."""

    def __init__(self, config: Embed, dim: int):
        super().__init__()
        self.inside = config.smear_documents
        self.weight = parameter(WINDOW, init=constant(0.0))
        self.strength = parameter(1, init=constant(0.0))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        gate = self.strength.to(x.dtype) * torch.sigmoid(x[..., :WINDOW] @ self.weight.to(x.dtype))[..., None]
        return x + gate * previous(x, tokens, self.inside)


def previous(x: Tensor, tokens: Tensor, inside: bool) -> Tensor:
    """x_(t-1) (B, T, D), 0 at the start; `inside` a document also 0 at its BOS, or its last word leaks on (#1851)."""
    before = shift(x)
    return before * (tokens != BOS)[..., None].to(x.dtype) if inside else before

"""SmearGate: mix a little of the previous token's embedding into every embedding."""

import torch
from torch import Tensor, nn

from base.config import Embed
from base.model.attention.document_mask import BOS
from base.model.layers import constant, parameter, shift

WINDOW = 12  # channels that the narrow gate reads


class VectorSmear(nn.Module):
    """After the norm: x_t <- (1 - sigmoid(g)) x_t + sigmoid(g) x_(t-1), g (D,) = 0; zeros precede the first token."""

    def __init__(self, config: Embed, dim: int):
        super().__init__()
        self.within_documents = config.smear_documents
        self.gate = parameter(dim, init=constant(0.0))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate).to(x.dtype)
        return (1.0 - gate) * x + gate * previous_token(x, tokens, self.within_documents)


class NarrowSmear(nn.Module):
    """Before the norm: x_t <- x_t + s sigmoid(w . x_t[:12]) x_(t-1), w = 0, s = 0; 13 parameters (#1667)."""

    def __init__(self, config: Embed, dim: int):
        super().__init__()
        self.within_documents = config.smear_documents
        self.weight = parameter(WINDOW, init=constant(0.0))
        self.strength = parameter(1, init=constant(0.0))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        gate = self.strength.to(x.dtype) * torch.sigmoid(x[..., :WINDOW] @ self.weight.to(x.dtype))[..., None]
        return x + gate * previous_token(x, tokens, self.within_documents)


def previous_token(x: Tensor, tokens: Tensor, within_documents: bool) -> Tensor:
    """x_(t-1) (B, T, D), 0 at the start of a row.

    With `within_documents` also 0 at a BOS, or the last document's final token would leak into the next one (#1851).
    """
    before = shift(x)
    return before * (tokens != BOS)[..., None].to(x.dtype) if within_documents else before

"""One transformer block, and the ways its two halves can be put together."""

import torch
from torch import Tensor, nn

from base.config import Config
from base.model.attention import Attention, Shared
from base.model.layers import chosen, constant, parameter, rms_norm
from base.model.mlp import MLP


class Block(nn.Module):
    """x (B, T, D) -> x. First x and x0 are mixed (modded-nanogpt's x0 lambdas), then attention, then the MLP.

    hybrid_norm (arXiv 2503.04598): values are normed in attention, whose input is not, and y = rms(x + attention)
    carries both the MLP's input and the residual. parallel_residual=single (GPT-J): both halves read the same input.
    """

    def __init__(self, config: Config, layer: int):
        super().__init__()
        dim, knobs = config.model.model_dim, config.residual
        self.attention = Attention(config, layer)
        self.mlp = MLP(config)
        self.mixes = knobs.resid_mix != "none"
        if self.mixes:
            share = mix_start(knobs.resid_mix, layer, config.model.num_layers)
            self.mix = parameter(dim, init=constant(share))
            self.mix_first = parameter(dim, init=constant(1.0 - share))
        self.attention_gain = parameter(dim, init=constant(1.0))
        self.mlp_gain = parameter(dim, init=constant(1.0))
        self.norm_scale = (layer + 1) ** -0.5 if knobs.ln_scale else 1.0
        self.hybrid = knobs.hybrid_norm
        together = chosen(knobs.parallel_layers, config.model.num_layers)
        self.parallel = knobs.parallel_residual == "single" and layer in together

    def forward(self, x: Tensor, shared: Shared) -> Tensor:
        x = self.mixed(x, shared)
        if self.parallel:
            return x + self.attended(x, shared) + self.transformed(x)
        x = x + self.attended(x, shared)
        if self.hybrid:
            x = rms_norm(x)
        return x + self.transformed(x)

    def mixed(self, x: Tensor, shared: Shared) -> Tensor:
        return self.mix.to(x.dtype) * x + self.mix_first.to(x.dtype) * shared.x0 if self.mixes else x

    def attended(self, x: Tensor, shared: Shared) -> Tensor:
        """What attention adds to x (B, T, D)."""
        return self.attention_gain.to(x.dtype) * self.attention(self.read(x), shared)

    def transformed(self, x: Tensor) -> Tensor:
        """What the MLP adds to x (B, T, D)."""
        return self.mlp_gain.to(x.dtype) * self.mlp(self.normed(x))

    def read(self, x: Tensor) -> Tensor:
        """What attention sees of the stream."""
        return x if self.hybrid else self.normed(x)

    def normed(self, x: Tensor) -> Tensor:
        """RMSNorm times 1/sqrt(l + 1) with ln_scale: deep layers see smaller inputs (#315)."""
        return rms_norm(x) * self.norm_scale if self.norm_scale != 1.0 else rms_norm(x)

    def first_values(self, x: Tensor, shared: Shared) -> Tensor:
        """The first layer's raw values (B, T, K Dh) of its input x, which value residuals pass on: done twice."""
        return self.attention.v(self.read(self.mixed(x, shared)))


def mix_start(kind: str, layer: int, layers: int) -> float:
    """Share of x against x0 at the start; phase (#569): sigmoid(3 (l/(L-1) - 1/2)), so early layers read x0."""
    if kind == "identity":
        return 1.0
    return torch.sigmoid(torch.tensor(3.0 * (layer / max(layers - 1, 1) - 0.5))).item()

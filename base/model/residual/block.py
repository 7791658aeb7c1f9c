"""One transformer block, and the ways to combine its two sublayers."""

import torch
from torch import Tensor, nn

from base.config import Config
from base.model.attention.grouped_query import Attention, ForwardContext
from base.model.layers import constant, parameter, parse_layers, rms_norm
from base.model.mlp import MLP


class Block(nn.Module):
    """x (B, T, D) -> x. First x and x0 are mixed (modded-nanogpt's x0 lambdas), then attention, then the MLP.

    hybrid_norm (arXiv 2503.04598): values are normed in attention, whose input is not, and y = rms(x + attention)
    is both the MLP's input and the residual. parallel_residual=single (GPT-J): both sublayers read the same input.
    """

    def __init__(self, config: Config, layer: int):
        super().__init__()
        dim, knobs = config.model.model_dim, config.residual
        self.attention = Attention(config, layer)
        self.mlp = MLP(config)
        self.mixes_x0 = knobs.resid_mix != "none"
        if self.mixes_x0:
            share = mix_init(knobs.resid_mix, layer, config.model.num_layers)
            self.mix = parameter(dim, init=constant(share))
            self.mix_first = parameter(dim, init=constant(1.0 - share))
        self.attention_gain = parameter(dim, init=constant(1.0))
        self.mlp_gain = parameter(dim, init=constant(1.0))
        self.norm_scale = (layer + 1) ** -0.5 if knobs.ln_scale else 1.0
        self.hybrid = knobs.hybrid_norm
        parallel_layers = parse_layers(knobs.parallel_layers, config.model.num_layers)
        self.parallel = knobs.parallel_residual == "single" and layer in parallel_layers

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        x = self.mix_x0(x, context)
        if self.parallel:
            return x + self.attention_out(x, context) + self.mlp_out(x)
        x = x + self.attention_out(x, context)
        if self.hybrid:
            x = rms_norm(x)
        return x + self.mlp_out(x)

    def mix_x0(self, x: Tensor, context: ForwardContext) -> Tensor:
        return self.mix.to(x.dtype) * x + self.mix_first.to(x.dtype) * context.x0 if self.mixes_x0 else x

    def attention_out(self, x: Tensor, context: ForwardContext) -> Tensor:
        """The update of attention to x (B, T, D)."""
        return self.attention_gain.to(x.dtype) * self.attention(self.attention_input(x), context)

    def mlp_out(self, x: Tensor) -> Tensor:
        """The update of the MLP to x (B, T, D)."""
        return self.mlp_gain.to(x.dtype) * self.mlp(self.norm(x))

    def attention_input(self, x: Tensor) -> Tensor:
        return x if self.hybrid else self.norm(x)

    def norm(self, x: Tensor) -> Tensor:
        """RMSNorm times 1/sqrt(l + 1) with ln_scale: deep layers see smaller inputs (#315)."""
        return rms_norm(x) * self.norm_scale if self.norm_scale != 1.0 else rms_norm(x)

    def first_values(self, x: Tensor, context: ForwardContext) -> Tensor:
        """Raw values (B, T, K Dh) of the first layer's input x, for value residuals; `forward` computes them again."""
        return self.attention.v(self.attention_input(self.mix_x0(x, context)))


def mix_init(kind: str, layer: int, layers: int) -> float:
    """Initial share of x against x0; phase (#569): sigmoid(3 (l/(L-1) - 1/2)), so early layers read x0."""
    if kind == "identity":
        return 1.0
    return torch.sigmoid(torch.tensor(3.0 * (layer / max(layers - 1, 1) - 0.5))).item()

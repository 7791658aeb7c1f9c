"""Grouped-query attention: normalised queries and keys with a learned gain per head, and all that is built on it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from base.config import Config
from base.model.differential import Differential
from base.model.exclusive import exclusive
from base.model.flash import causal_attention
from base.model.gates import HeadGate, ValueGate
from base.model.layers import Linear, chosen, constant, orthogonal, parameter, rms_norm
from base.model.polar import Polar
from base.model.rotary import Rotary
from base.model.values import ValueResidual


class Shared(NamedTuple):
    """What the layers of one forward pass share; None where no layer asks for it."""

    x0: Tensor  # (B, T, D), the stream before the first layer
    documents: Tensor | None = None  # flash.document_layout
    value_embedding: Tensor | None = None  # (B, T, K Dh)
    first_values: Tensor | None = None  # (B, T, K Dh), the first layer's, raw


class Attention(nn.Module):
    """x (B, T, D) -> (B, T, D). Queries and keys are scaled to norm sqrt(Dh), so the gain alone sets the sharpness."""

    def __init__(self, config: Config, layer: int):
        super().__init__()
        model, knobs = config.model, config.attention
        if model.model_dim % model.num_heads or model.num_heads % model.num_kv_heads:
            raise ValueError(
                f"model_dim {model.model_dim}, num_heads {model.num_heads}, num_kv_heads {model.num_kv_heads}: "
                "each must be a multiple of the next"
            )
        if knobs.differential and knobs.polar_positions:
            raise ValueError("differential and polar_positions both reshape the heads: choose one")
        dim, kv_heads, count = model.model_dim, model.num_kv_heads, model.num_layers
        self.head_dim, self.qk_norm, self.value_norm = (
            dim // model.num_heads,
            knobs.qk_norm,
            config.residual.hybrid_norm,
        )
        kv_dim, length = self.head_dim * kv_heads, max(config.data.sequence_length, config.eval.eval_length)
        self.q = Linear(dim, dim)
        self.k = Linear(dim, kv_dim)
        self.v = Linear(dim, kv_dim)
        self.out = Linear(dim, dim, init=constant(0.0) if model.zero_projections else orthogonal())
        self.gain = parameter(model.num_heads, init=constant(knobs.qk_gain))
        self.maps = 2 if knobs.differential else 1  # of attention per head
        self.attend = Differential(self.head_dim, layer) if knobs.differential else causal_attention
        self.polar = Polar(knobs, self.head_dim, kv_heads, length) if knobs.polar_positions else None
        self.rotary = None if knobs.polar_positions else Rotary(knobs, self.head_dim // self.maps, length)
        self.exclusive = layer in chosen(knobs.xsa_layers, count)
        self.gate = HeadGate(config) if knobs.attention_gate != "none" else None
        self.value_gate = ValueGate(kv_dim) if knobs.value_gate else None
        reads = layer in chosen(knobs.ve_layers, count)
        self.embedding_gain = parameter(1, init=constant(1.0)) if reads else None
        mixes = knobs.value_residual != "none" and layer > 0
        self.value_residual = ValueResidual(knobs.value_residual) if mixes else None

    def forward(self, x: Tensor, shared: Shared) -> Tensor:
        q, k = (project(x).unflatten(-1, (-1, self.head_dim // self.maps)) for project in (self.q, self.k))
        v = self.values(x, shared).unflatten(-1, (-1, self.head_dim))
        q, k = self.placed(q, k)
        gain = self.gain if self.maps == 1 else self.gain.repeat_interleave(self.maps)
        y = self.attend(q * gain.to(q.dtype)[:, None], k, v, shared.documents)
        if self.exclusive:
            y = exclusive(y, v)
        if self.gate is not None:
            y = y * self.gate(x)
        return self.out(y.flatten(-2))

    def values(self, x: Tensor, shared: Shared) -> Tensor:
        """This layer's own values, then what is gated, embedded, mixed in and normed (B, T, K Dh)."""
        v = self.v(x)
        if self.value_gate is not None:
            v = self.value_gate(v)
        if self.embedding_gain is not None:
            v = v + self.embedding_gain.to(v.dtype) * shared.value_embedding
        if self.value_residual is not None:
            v = self.value_residual(v, shared.first_values)
        return rms_norm(v.unflatten(-1, (-1, self.head_dim))).flatten(-2) if self.value_norm else v

    def placed(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (B, T, H, Dh) and keys (B, T, K, Dh), normed and turned by their positions."""
        # One pass over queries and keys together: small heads are bound by the number of kernels, not by their work.
        both = torch.cat((q, k), dim=2)
        both = rms_norm(both) if self.qk_norm else both
        both = self.rotary(both) if self.rotary is not None else both
        q, k = both.split((q.size(2), k.size(2)), dim=2)
        return (q, k) if self.polar is None else self.polar(q, k)

"""Grouped-query attention: normalized queries and keys with a learned gain per head, and every variant of it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from base.config import Config
from base.model.attention.differential import Differential
from base.model.attention.flash import causal_attention
from base.model.attention.gates import HeadGate, ValueGate
from base.model.attention.pope import PoPE
from base.model.attention.rotary import Rotary
from base.model.attention.value_residual import ValueResidual
from base.model.attention.xsa import exclusive_self_attention
from base.model.layers import Linear, constant, orthogonal, parameter, parse_layers, rms_norm


class ForwardContext(NamedTuple):
    """Inputs that all layers of one forward pass share; None if no layer needs them."""

    x0: Tensor  # (B, T, D), the stream before the first layer
    documents: Tensor | None = None  # flash.document_layout
    value_embedding: Tensor | None = None  # (B, T, K Dh)
    first_values: Tensor | None = None  # (B, T, K Dh), the first layer's, raw
    cache: object = None  # evaluate.kv_cache.KeyValueCache of the tokens before these


class Attention(nn.Module):
    """x (B, T, D) -> (B, T, D). Queries and keys are scaled to norm sqrt(Dh), so the gain alone sets the sharpness.

    `quantize_keys` (evaluate/kv_cache.py) is a map that evaluation may apply to the keys.
    """

    quantize_keys: object = None

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
        dim, kv_heads, layers = model.model_dim, model.num_kv_heads, model.num_layers
        self.head_dim, self.qk_norm = dim // model.num_heads, knobs.qk_norm
        self.value_norm = config.residual.hybrid_norm
        kv_dim, length = self.head_dim * kv_heads, max(config.data.sequence_length, config.eval.eval_length)
        self.q = Linear(dim, dim)
        self.k = Linear(dim, kv_dim)
        self.v = Linear(dim, kv_dim)
        self.out = Linear(dim, dim, init=constant(0.0) if model.zero_projections else orthogonal())
        self.gain = parameter(model.num_heads, init=constant(knobs.qk_gain))
        self.maps = 2 if knobs.differential else 1  # of attention per head
        self.key_dim = self.head_dim // self.maps * (2 if knobs.polar_positions else 1)
        self.attend = Differential(self.head_dim, layer) if knobs.differential else causal_attention
        self.polar = PoPE(knobs, self.head_dim, kv_heads, length) if knobs.polar_positions else None
        self.rotary = None if knobs.polar_positions else Rotary(knobs, self.head_dim // self.maps, length)
        self.xsa = layer in parse_layers(knobs.xsa_layers, layers)
        self.gate = HeadGate(config) if knobs.attention_gate != "none" else None
        self.value_gate = ValueGate(kv_dim) if knobs.value_gate else None
        reads_embedding = layer in parse_layers(knobs.ve_layers, layers)
        self.embedding_gain = parameter(1, init=constant(1.0)) if reads_embedding else None
        mixes_values = knobs.value_residual != "none" and layer > 0
        self.value_residual = ValueResidual(knobs.value_residual) if mixes_values else None

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q, k = (project(x).unflatten(-1, (-1, self.head_dim // self.maps)) for project in (self.q, self.k))
        v = self.values(x, context).unflatten(-1, (-1, self.head_dim))
        q, k = self.norm_and_rotate(q, k, 0 if context.cache is None else context.cache.length)
        keys, values = k, v
        if context.cache is not None:
            keys, values = context.cache.extend(k, v, self.quantize_keys)
        elif self.quantize_keys is not None:
            keys = self.quantize_keys(k)
        gain = self.gain if self.maps == 1 else self.gain.repeat_interleave(self.maps)
        y = self.attend(q * gain.to(q.dtype)[:, None], keys, values, context.documents)
        if self.xsa:
            y = exclusive_self_attention(y, v)
        if self.gate is not None:
            y = y * self.gate(x)
        return self.out(y.flatten(-2))

    def values(self, x: Tensor, context: ForwardContext) -> Tensor:
        """This layer's values, then gated, with embedding and first values added, and normed (B, T, K Dh)."""
        v = self.v(x)
        if self.value_gate is not None:
            v = self.value_gate(v)
        if self.embedding_gain is not None:
            v = v + self.embedding_gain.to(v.dtype) * context.value_embedding
        if self.value_residual is not None:
            v = self.value_residual(v, context.first_values)
        return rms_norm(v.unflatten(-1, (-1, self.head_dim))).flatten(-2) if self.value_norm else v

    def norm_and_rotate(self, q: Tensor, k: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Queries (B, T, H, Dh) and keys (B, T, K, Dh), normed and rotated by their positions from `first`."""
        # One pass over queries and keys together: small heads are bound by the number of kernels, not by their work.
        qk = torch.cat((q, k), dim=2)
        if self.qk_norm:
            qk = rms_norm(qk)
        if self.rotary is not None:
            qk = self.rotary(qk, first)
        q, k = qk.split((q.size(2), k.size(2)), dim=2)
        return (q, k) if self.polar is None else self.polar(q, k, first)

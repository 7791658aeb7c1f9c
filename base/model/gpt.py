"""The whole network: embeddings, the order of the blocks, the residual streams between them, softcapped logits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base.config import Config
from base.model.attention.document_mask import document_ids, document_mask, last_rows
from base.model.attention.flash import document_layout
from base.model.attention.grouped_query import ForwardContext
from base.model.attention.value_residual import ValueEmbedding
from base.model.layers import constant, normal, parameter, parse_layers, rms_norm
from base.model.loss import softcap, softcapped_cross_entropy
from base.model.mtp import MultiTokenPrediction
from base.model.ngrams import BigramHash, EngramLite
from base.model.residual.block import Block
from base.model.residual.hyper_connections import HyperConnections
from base.model.residual.parallel_residual import ParallelResidual
from base.model.residual.unet_skips import UNetSkips
from base.model.smear import NarrowSmear, VectorSmear
from base.model.wavelet import Wavelet

BACKOUT_INIT = 0.2
LOOKBACK = 3  # tokens before a token that its embedding may read: smear and n-gram tables


class GPT(nn.Module):
    """Tokens (B, T) -> hidden states (B, T, D) -> logits (B, T, V); matrix products run in `dtype`.

    `looping` tells whether the looped layers run more than once; training switches it on part of the way.
    """

    def __init__(self, config: Config, dtype: torch.dtype = torch.float32):
        super().__init__()
        check_combination(config)
        model, embed, attention, residual = config.model, config.embed, config.attention, config.residual
        self.config, self.dtype, self.looping = config, dtype, True
        self.embedding = parameter(model.vocab_size, model.model_dim, init=normal(model.embed_std), role="table")
        tied = model.tie_embeddings
        self.head = None if tied else parameter(*self.embedding.shape, init=constant(0.0), role="table")
        smears = {"vector": VectorSmear, "narrow": NarrowSmear}
        self.smear = smears[embed.smear](embed, model.model_dim) if embed.smear in smears else None
        self.bigram = BigramHash(config) if embed.bigram_buckets else None
        self.engram = EngramLite(config) if embed.engram_buckets else None
        self.wavelet = Wavelet(config) if embed.wavelet_dims else None
        kv_dim = model.model_dim // model.num_heads * model.num_kv_heads
        self.value_embedding = ValueEmbedding(config, kv_dim) if attention.ve_layers else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(model.num_layers))
        self.skips = UNetSkips(config, len(self.layer_order()) // 2) if residual.unet_skips != "none" else None
        two_lane = (
            parse_layers(residual.parallel_layers, model.num_layers) if residual.parallel_residual == "lanes" else ()
        )
        self.lanes = nn.ModuleDict({str(layer): ParallelResidual() for layer in sorted(two_lane)})
        self.streams = HyperConnections(config) if residual.hyper_streams else None
        self.backout = parameter(1, init=constant(BACKOUT_INIT)) if residual.backout else None
        self.ahead = MultiTokenPrediction(config) if model.mtp_heads else None
        self.head_adapter = None  # evaluate/learning/adapters.py: a map of hidden states that is added to the logits

    @property
    def can_continue(self) -> bool:
        """Whether `hidden` can read tokens with the keys and values of those before: a wavelet reads streams too."""
        return self.wavelet is None

    def layer_order(self) -> list[int]:
        """The layers in the order they run; with the loop on, loop_first..loop_last run loop_passes times (#1394)."""
        layers, loop = list(range(self.config.model.num_layers)), self.config.residual
        if not self.looping or loop.loop_passes == 1:
            return layers
        looped = layers[loop.loop_first : loop.loop_last + 1]
        return layers[: loop.loop_first] + loop.loop_passes * looped + layers[loop.loop_last + 1 :]

    def set_progress(self, progress: float) -> None:
        """Switch the loop on after loop_start of training; a model without a loop is never compiled again."""
        loop = self.config.residual
        self.looping = loop.loop_passes == 1 or progress >= loop.loop_start

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T) -> the residual stream before the first layer (B, T, D)."""
        x = F.embedding(tokens, self.embedding).to(self.dtype)
        if isinstance(self.smear, NarrowSmear):
            x = self.smear(x, tokens)
        if self.bigram is not None:
            x = x + self.bigram(tokens, x.dtype)
        if self.engram is not None:
            x = x + self.engram(tokens, x)
        x = rms_norm(x)
        return self.smear(x, tokens) if isinstance(self.smear, VectorSmear) else x

    def context(self, tokens: Tensor, x0: Tensor, cache=None) -> ForwardContext:
        """Compute the inputs that all layers share, once per forward pass."""
        attention, new = self.config.attention, x0.size(1)
        context = ForwardContext(x0, cache=cache)
        length = None if cache is None else self.config.eval.eval_length
        ids = document_ids(tokens, length) if attention.document_attention else None
        if new < tokens.size(1):
            context = context._replace(documents=last_rows(ids, tokens.size(1), new, x0.device))
            tokens = tokens[:, -new:]
        elif ids is not None:
            odd_heads = attention.differential or attention.polar_positions  # sizes that FlashAttention does not take
            context = context._replace(documents=document_mask(ids) if odd_heads else document_layout(ids))
        if self.value_embedding is not None:
            context = context._replace(value_embedding=self.value_embedding(tokens, x0.dtype))
        if attention.value_residual != "none":
            x = x0 if self.streams is None else self.streams.read(x0, self.streams.start(x0), 0)
            context = context._replace(first_values=self.blocks[0].first_values(x, context))
        return context

    def hidden(self, tokens: Tensor, cache=None) -> Tensor:
        """Tokens (B, T) -> normed hidden states (B, T, D).

        With a cache (evaluate/kv_cache.py) of its first n tokens: of the others alone (B, T - n, D), for which
        `can_continue` must be true.
        """
        known = 0 if cache is None else cache.length
        x = self.embed(tokens[:, max(known - LOOKBACK, 0) :])[:, min(known, LOOKBACK) :]
        context, order = self.context(tokens, x, cache), self.layer_order()
        half, skips, mlp_lane, middle = len(order) // 2, [], None, None
        extra_streams = self.streams.start(x) if self.streams is not None else None
        for step, layer in enumerate(order):
            two_lane = str(layer) in self.lanes
            if two_lane and mlp_lane is None:
                mlp_lane = x  # before the skip, which joins the attention lane alone
            if self.skips is not None and step >= half and skips:
                x = self.skips(x, skips.pop(), step - half)
            if two_lane:
                x, mlp_lane = self.lanes[str(layer)](self.blocks[layer], x, mlp_lane, context)
            elif extra_streams is not None:
                layer_input = self.streams.read(x, extra_streams, layer)
                update = self.blocks[layer](layer_input, context) - layer_input
                x, extra_streams = self.streams.write(x, extra_streams, update, layer)
            else:
                x = self.blocks[layer](x, context)
            if self.wavelet is not None:
                x = self.wavelet(x, layer)
            if step < half:
                skips.append(x)
            if step == half:
                middle = x
        if mlp_lane is not None:
            x = (x + mlp_lane) / 2
        if extra_streams is not None:
            x = x + extra_streams.sum(dim=0)
        if cache is not None:
            cache.finish(tokens.size(1))
        return rms_norm(x if self.backout is None else x - self.backout.to(x.dtype) * middle)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits in fp32: a softcap and a softmax in bf16 lose the tail."""
        raw = F.linear(hidden, self.output_weight.to(hidden.dtype))
        if self.head_adapter is not None:
            raw = raw + self.head_adapter(hidden)
        return softcap(raw.float(), self.config.model.softcap)

    @property
    def output_weight(self) -> Tensor:
        return self.embedding if self.head is None else self.head

    def forward(self, tokens: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean loss in nats of targets (B, T), each given tokens (B, T) up to its position, times `weights` if any."""
        hidden = self.hidden(tokens)
        if weights is not None:
            weights = weights.flatten()
        loss = self.cross_entropy(hidden.flatten(0, 1), self.output_weight, targets.flatten(), weights)
        return loss if self.ahead is None else loss + self.ahead(hidden, targets, self.cross_entropy)

    def cross_entropy(self, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        cap, fused = self.config.model.softcap, self.config.run.fused_loss
        return softcapped_cross_entropy(hidden, head, targets, cap, fused, weights)


def check_combination(config: Config) -> None:
    """Raise ValueError for knobs that do not fit together."""
    residual, layers = config.residual, config.model.num_layers
    lanes = parse_layers(residual.parallel_layers, layers) if residual.parallel_residual == "lanes" else set()
    if residual.loop_passes > 1 and not 0 <= residual.loop_first <= residual.loop_last < layers:
        loop = f"loop_first {residual.loop_first}, loop_last {residual.loop_last}"
        raise ValueError(f"{loop}: expected two of {layers} layers, in order")
    if lanes != set(range(layers - len(lanes), layers)):
        raise ValueError(f"parallel_layers {residual.parallel_layers!r}: two lanes run to the end, like '-3:'")
    if lanes and residual.loop_passes > 1 and residual.loop_last >= min(lanes):
        raise ValueError(f"loop_last {residual.loop_last}: two-lane layers {sorted(lanes)} must come after the loop")
    if residual.parallel_residual != "none" and residual.hybrid_norm:
        raise ValueError(
            "hybrid_norm norms between attention and MLP, which parallel_residual runs at once: choose one"
        )
    if config.run.fused_mlp and config.model.activation != "leaky_relu2":
        raise ValueError(f"fused_mlp is for leaky_relu2, got activation {config.model.activation}")
    if config.run.fused_loss and config.data.complementary_alpha:
        raise ValueError("fused_loss takes no token weights, complementary_alpha needs them: choose one")
    if config.run.fused_loss and not config.model.softcap:
        raise ValueError("fused_loss is for capped logits, got softcap 0")
    if lanes and residual.hyper_streams:
        raise ValueError("two lanes and hyper_streams both carry residual streams: choose one")


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Return the number of parameters by top-level part, and in total."""
    counts: dict[str, int] = {}
    for name, weight in model.named_parameters():
        part = name.split(".")[0]
        counts[part] = counts.get(part, 0) + weight.numel()
    return {**counts, "total": sum(counts.values())}

"""The assembly: embeddings, the order of the blocks and how their streams join, softcapped logits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base.config import Config
from base.model.ahead import TokensAhead
from base.model.attention import Shared
from base.model.block import Block
from base.model.documents import document_ids, same_document
from base.model.flash import document_layout
from base.model.lanes import Lanes
from base.model.layers import chosen, constant, normal, parameter, rms_norm
from base.model.loss import softcap, softcapped_cross_entropy
from base.model.ngrams import BigramHash, EngramLite
from base.model.skips import Skips
from base.model.smear import NarrowSmear, VectorSmear
from base.model.streams import Streams
from base.model.values import ValueEmbedding
from base.model.wavelet import Wavelet

BACKOUT_START = 0.2


class GPT(nn.Module):
    """Tokens (B, T) -> hidden states (B, T, D) -> logits (B, T, V); `dtype` is that of the matrix products.

    `looping` says whether the looped layers run more than once; training switches it on part of the way.
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
        self.skips = Skips(config, len(self.order()) // 2) if residual.unet_skips != "none" else None
        apart = chosen(residual.parallel_layers, model.num_layers) if residual.parallel_residual == "lanes" else ()
        self.lanes = nn.ModuleDict({str(layer): Lanes() for layer in sorted(apart)})
        self.streams = Streams(config) if residual.hyper_streams else None
        self.backout = parameter(1, init=constant(BACKOUT_START)) if residual.backout else None
        self.ahead = TokensAhead(config) if model.mtp_heads else None

    def order(self) -> list[int]:
        """The layers in the order they run; with the loop on, loop_first..loop_last run loop_passes times (#1394)."""
        layers, loop = list(range(self.config.model.num_layers)), self.config.residual
        if not self.looping or loop.loop_passes == 1:
            return layers
        inside = layers[loop.loop_first : loop.loop_last + 1]
        return layers[: loop.loop_first] + loop.loop_passes * inside + layers[loop.loop_last + 1 :]

    def reach(self, progress: float) -> None:
        """Switch the loop on once `progress` of training is over; where nothing loops, nothing compiles again."""
        loop = self.config.residual
        self.looping = loop.loop_passes == 1 or progress >= loop.loop_start

    def embedded(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T) -> the stream before the first layer (B, T, D)."""
        x = F.embedding(tokens, self.embedding).to(self.dtype)
        if isinstance(self.smear, NarrowSmear):
            x = self.smear(x, tokens)
        if self.bigram is not None:
            x = x + self.bigram(tokens, x.dtype)
        if self.engram is not None:
            x = x + self.engram(tokens, x)
        x = rms_norm(x)
        return self.smear(x, tokens) if isinstance(self.smear, VectorSmear) else x

    def shared(self, tokens: Tensor, x0: Tensor) -> Shared:
        """What is worked out once for all layers."""
        attention = self.config.attention
        shared = Shared(x0)
        if attention.document_attention:
            odd_heads = attention.differential or attention.polar_positions  # sizes that FlashAttention does not take
            ids = document_ids(tokens)
            shared = shared._replace(documents=same_document(ids) if odd_heads else document_layout(ids))
        if self.value_embedding is not None:
            shared = shared._replace(value_embedding=self.value_embedding(tokens, x0.dtype))
        if attention.value_residual != "none":
            seen = x0 if self.streams is None else self.streams.read(x0, self.streams.start(x0), 0)
            shared = shared._replace(first_values=self.blocks[0].first_values(seen, shared))
        return shared

    def hidden(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T) -> normed hidden states (B, T, D)."""
        x = self.embedded(tokens)
        shared, order = self.shared(tokens, x), self.order()
        half, saved, lane, middle = len(order) // 2, [], None, None
        others = self.streams.start(x) if self.streams is not None else None
        for place, layer in enumerate(order):
            apart = str(layer) in self.lanes
            if apart and lane is None:
                lane = x  # before the skip, which is for the first lane alone
            if self.skips is not None and place >= half and saved:
                x = self.skips(x, saved.pop(), place - half)
            if apart:
                x, lane = self.lanes[str(layer)](self.blocks[layer], x, lane, shared)
            elif others is not None:
                seen = self.streams.read(x, others, layer)
                x, others = self.streams.write(x, others, self.blocks[layer](seen, shared) - seen, layer)
            else:
                x = self.blocks[layer](x, shared)
            if self.wavelet is not None:
                x = self.wavelet(x, layer)
            if place < half:
                saved.append(x)
            if place == half:
                middle = x
        x = x if lane is None else (x + lane) / 2
        x = x if others is None else x + others.sum(dim=0)
        return rms_norm(x if self.backout is None else x - self.backout.to(x.dtype) * middle)

    def logits(self, hidden: Tensor) -> Tensor:
        """Head in fp32 from here on: a softcap and a softmax in bf16 lose the tail."""
        return softcap(F.linear(hidden, self.output.to(hidden.dtype)).float(), self.config.model.softcap)

    @property
    def output(self) -> Tensor:
        return self.embedding if self.head is None else self.head

    def forward(self, tokens: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean loss in nats of targets (B, T), each given the tokens (B, T) up to its place, times `weights` if any."""
        hidden = self.hidden(tokens)
        weights = None if weights is None else weights.flatten()
        loss = self.cross_entropy(hidden.flatten(0, 1), self.output, targets.flatten(), weights)
        return loss if self.ahead is None else loss + self.ahead(hidden, targets, self.cross_entropy)

    def cross_entropy(self, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        cap, fused = self.config.model.softcap, self.config.run.fused_loss
        return softcapped_cross_entropy(hidden, head, targets, cap, fused, weights)


def check_combination(config: Config) -> None:
    """Raise ValueError for pieces that do not fit together."""
    residual, layers = config.residual, config.model.num_layers
    lanes = chosen(residual.parallel_layers, layers) if residual.parallel_residual == "lanes" else set()
    if residual.loop_passes > 1 and not 0 <= residual.loop_first <= residual.loop_last < layers:
        found = f"loop_first {residual.loop_first}, loop_last {residual.loop_last}"
        raise ValueError(f"{found}: expected two of {layers} layers, in order")
    if lanes != set(range(layers - len(lanes), layers)):
        raise ValueError(f"parallel_layers {residual.parallel_layers!r}: two lanes run to the end, like '-3:'")
    if lanes and residual.loop_passes > 1 and residual.loop_last >= min(lanes):
        raise ValueError(f"loop_last {residual.loop_last}: two-lane layers {sorted(lanes)} must come after the loop")
    if residual.parallel_residual != "none" and residual.hybrid_norm:
        raise ValueError("hybrid_norm has a norm between attention and MLP, parallel_residual no between: choose one")
    if config.run.fused_mlp and config.model.activation != "leaky_relu2":
        raise ValueError(f"fused_mlp is for leaky_relu2, got activation {config.model.activation}")
    if config.run.fused_loss and config.data.complementary_alpha:
        raise ValueError("fused_loss has no weights by token, complementary_alpha needs them: choose one")
    if config.run.fused_loss and not config.model.softcap:
        raise ValueError("fused_loss is for capped logits, got softcap 0")
    if lanes and residual.hyper_streams:
        raise ValueError("two lanes and hyper_streams are both residual streams: choose one")


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Parameters by top-level part, and in total."""
    counts: dict[str, int] = {}
    for name, weight in model.named_parameters():
        part = name.split(".")[0]
        counts[part] = counts.get(part, 0) + weight.numel()
    return {**counts, "total": sum(counts.values())}

"""The assembly: tied embedding, blocks that mix in the first stream, softcapped logits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base.config import Config, Model
from base.model.attention import Attention
from base.model.layers import constant, normal, parameter, rms_norm
from base.model.loss import SoftcappedCrossEntropy
from base.model.mlp import MLP


class Block(nn.Module):
    """x and the first stream x0, both (B, T, D) -> x. resid_mix starts as plain x (modded-nanogpt's x0 lambdas)."""

    def __init__(self, config: Model, max_length: int):
        super().__init__()
        self.attention = Attention(config, max_length)
        self.mlp = MLP(config)
        self.mix = parameter(config.model_dim, init=constant(1.0))
        self.mix_first = parameter(config.model_dim, init=constant(0.0))
        self.attention_gain = parameter(config.model_dim, init=constant(1.0))
        self.mlp_gain = parameter(config.model_dim, init=constant(1.0))

    def forward(self, x: Tensor, x0: Tensor) -> Tensor:
        x = self.mix.to(x.dtype) * x + self.mix_first.to(x.dtype) * x0
        x = x + self.attention_gain.to(x.dtype) * self.attention(rms_norm(x))
        return x + self.mlp_gain.to(x.dtype) * self.mlp(rms_norm(x))


class GPT(nn.Module):
    """Tokens (B, T) -> hidden states (B, T, D) -> logits (B, T, V); `dtype` is that of the matrix products."""

    def __init__(self, config: Config, dtype: torch.dtype = torch.float32):
        super().__init__()
        model = config.model
        max_length = max(config.data.sequence_length, config.eval.eval_length)
        self.dtype, self.softcap = dtype, model.softcap
        self.embedding = parameter(model.vocab_size, model.model_dim, init=normal(model.embed_std))
        self.blocks = nn.ModuleList(Block(model, max_length) for _ in range(model.num_layers))

    def hidden(self, tokens: Tensor) -> Tensor:
        x = x0 = rms_norm(F.embedding(tokens, self.embedding).to(self.dtype))
        for block in self.blocks:
            x = block(x, x0)
        return rms_norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Tied head in fp32 from here on: a softcap and a softmax in bf16 lose the tail."""
        z = F.linear(hidden, self.embedding.to(hidden.dtype)).float()
        return self.softcap * torch.tanh(z / self.softcap)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean loss in nats of targets (B, T), each given the tokens (B, T) up to its place."""
        hidden = self.hidden(tokens).flatten(0, 1)
        return SoftcappedCrossEntropy.apply(hidden, self.embedding, targets.flatten(), self.softcap)


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Parameters by top-level part, and in total."""
    counts: dict[str, int] = {}
    for name, weight in model.named_parameters():
        part = name.split(".")[0]
        counts[part] = counts.get(part, 0) + weight.numel()
    return {**counts, "total": sum(counts.values())}

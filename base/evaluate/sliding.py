"""The sliding-window scorer: every token gets up to `eval_length` tokens of context, however the stream is cut.

Positions are scored in groups of `eval_stride`; group g is read through one window that ends with the group, so a
position's window depends on the position alone, not on how the stream is cut. Windows have one length, padded where
tokens are not known yet: causality makes the padding harmless, and equal shapes keep rounding equal.
"""

import math

import numpy as np
import torch
from torch import Tensor

from base.config import Config
from base.model.gpt import GPT
from base.runtime import Runtime


class SlidingScorer:
    """observe(tokens) -> losses in nats; predict() -> log-probabilities of the next token, over the vocabulary."""

    def __init__(self, config: Config, runtime: Runtime, model: GPT, compiled: bool = False):
        self.length, self.stride, self.batch = config.eval.eval_length, config.eval.eval_stride, config.eval.eval_batch
        if self.length % self.stride:
            raise ValueError(f"eval_stride {self.stride} must divide eval_length {self.length}")
        self.vocab_size = config.model.vocab_size
        self.runtime, self.model = runtime, model
        self.hidden = torch.compile(model.hidden) if compiled else model.hidden
        self.reset()

    def reset(self) -> None:
        self.buffer, self.seen = np.zeros(1 << 16, dtype=np.int64), 0  # doubles as it fills: streams come in blocks
        self.predicted: np.ndarray | None = None  # the last answer of predict(), if no token came since
        self.last_group: Tensor | None = None  # log-probabilities (S, V) of the group that read the last token

    @property
    def stream(self) -> np.ndarray:
        return self.buffer[: self.seen]

    def append(self, tokens: np.ndarray) -> None:
        if self.seen + len(tokens) > len(self.buffer):
            self.buffer = np.concatenate([self.stream, np.zeros(self.seen + len(tokens), dtype=np.int64)])
        self.buffer[self.seen : self.seen + len(tokens)] = tokens
        self.seen, self.predicted, self.last_group = self.seen + len(tokens), None, None

    @torch.inference_mode()
    def observe(self, tokens: np.ndarray) -> np.ndarray:
        """Losses of `tokens` (n,), each given every earlier token of the stream; they then join the stream."""
        first, predicted = self.seen, self.predicted
        self.append(tokens)
        if predicted is not None and len(tokens) == 1:
            return -predicted[tokens.astype(np.int64)]
        losses = np.full(len(tokens), math.log(self.vocab_size), dtype=np.float32)  # the first token has no context
        start = max(first, 1)  # token i is predicted at position i - 1
        groups = range((start - 1) // self.stride, (self.seen - 2) // self.stride + 1)
        if self.seen > start:
            targets = self.padded(groups[0] * self.stride + 1, len(groups) * self.stride).view(len(groups), self.stride)
            by_batch = []
            for logp, target in zip(self.log_probabilities(groups), targets.split(self.batch), strict=True):
                by_batch.append(-logp.gather(-1, target[..., None])[..., 0])
            self.last_group = logp[-1] if (self.seen - 1) // self.stride == groups[-1] else None
            offset = start - 1 - groups[0] * self.stride
            losses[start - first :] = torch.cat(by_batch).flatten()[offset : offset + self.seen - start].cpu().numpy()
        return losses

    @torch.inference_mode()
    def predict(self) -> np.ndarray:
        """Log-probabilities (V,) of the token after the stream; uniform before the first token."""
        if not self.seen:
            return np.full(self.vocab_size, -math.log(self.vocab_size), dtype=np.float32)
        group, offset = divmod(self.seen - 1, self.stride)
        if self.last_group is None:  # else it was computed with the last token
            (logp,) = self.log_probabilities(range(group, group + 1))
            self.last_group = logp[0]
        self.predicted = self.last_group[offset].cpu().numpy()
        return self.predicted

    def log_probabilities(self, groups: range):
        """Yield (groups, stride, V) for each batch of groups, whose rows are divided among the ranks and gathered."""
        world = self.runtime.world
        for first in range(0, len(groups), self.batch):
            batch = list(groups[first : first + self.batch])
            rows = batch + [0] * (-len(batch) % world)  # every rank runs the same number of windows
            starts = [max(0, (group + 1) * self.stride - self.length) for group in rows]
            tokens = torch.stack([self.padded(start, self.length) for start in starts])
            offsets = torch.tensor([group * self.stride - start for group, start in zip(rows, starts, strict=True)])
            positions = offsets[:, None] + torch.arange(self.stride)
            own = slice(self.runtime.rank, None, world)
            logp = self.forward(tokens[own].to(self.runtime.device), positions[own].to(self.runtime.device))
            if world > 1:
                part, logp = logp, logp.new_zeros(len(rows), self.stride, self.vocab_size)
                logp[own] = part
                self.runtime.all_reduce_(logp)
            yield logp[: len(batch)]

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Windows (B, L) and the scored positions of each (B, S) -> log-probabilities (B, S, V)."""
        hidden = self.hidden(tokens)
        scored = hidden.gather(1, positions[..., None].expand(-1, -1, hidden.size(-1)))
        return self.model.logits(scored).log_softmax(dim=-1)

    def padded(self, start: int, count: int) -> Tensor:
        """Return stream[start : start + count], with zeros past its end."""
        part = self.stream[start : start + count]
        return torch.from_numpy(np.pad(part, (0, count - len(part))))

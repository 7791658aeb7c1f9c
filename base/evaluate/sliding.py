"""The sliding-window scorer: every token gets up to `eval_length` tokens of context, wherever the stream is cut.

Places are scored in groups of `eval_stride`; group g is read through one window that ends with the group, so a
place's window depends on its position alone, not on how the stream is cut. Windows have one length, padded where
tokens are still unknown: causality makes padding harmless, and equal shapes keep rounding alike.
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
        self.room, self.seen = np.zeros(1 << 16, dtype=np.int64), 0  # grows by doubling: a long stream comes in pieces
        self.foretold: np.ndarray | None = None  # what predict() said of the next token
        self.newest: Tensor | None = None  # log-probabilities (S, V) of the group that the last token was read in

    @property
    def stream(self) -> np.ndarray:
        return self.room[: self.seen]

    def join(self, tokens: np.ndarray) -> None:
        if self.seen + len(tokens) > len(self.room):
            self.room = np.concatenate([self.stream, np.zeros(self.seen + len(tokens), dtype=np.int64)])
        self.room[self.seen : self.seen + len(tokens)] = tokens
        self.seen, self.foretold, self.newest = self.seen + len(tokens), None, None

    @torch.inference_mode()
    def observe(self, tokens: np.ndarray) -> np.ndarray:
        """Losses of `tokens` (n,), each given every token of the stream before it; they then join the stream."""
        first, foretold = self.seen, self.foretold
        self.join(tokens)
        if foretold is not None and len(tokens) == 1:
            return -foretold[tokens.astype(np.int64)]
        losses = np.full(len(tokens), math.log(self.vocab_size), dtype=np.float32)  # the first token has no context
        start = max(first, 1)  # token i is predicted at place i - 1
        groups = range((start - 1) // self.stride, (self.seen - 2) // self.stride + 1)
        if self.seen > start:
            targets = self.padded(groups[0] * self.stride + 1, len(groups) * self.stride).view(len(groups), self.stride)
            found = []
            for logp, target in zip(self.log_probabilities(groups), targets.split(self.batch), strict=True):
                found.append(-logp.gather(-1, target[..., None])[..., 0])
            self.newest = logp[-1] if (self.seen - 1) // self.stride == groups[-1] else None
            place = start - 1 - groups[0] * self.stride
            losses[start - first :] = torch.cat(found).flatten()[place : place + self.seen - start].cpu().numpy()
        return losses

    @torch.inference_mode()
    def predict(self) -> np.ndarray:
        """Log-probabilities (V,) of the token after the stream; uniform while nothing has been observed."""
        if not self.seen:
            return np.full(self.vocab_size, -math.log(self.vocab_size), dtype=np.float32)
        group, offset = divmod(self.seen - 1, self.stride)
        if self.newest is None:  # else the place after the last token was worked out with it
            (logp,) = self.log_probabilities(range(group, group + 1))
            self.newest = logp[0]
        self.foretold = self.newest[offset].cpu().numpy()
        return self.foretold

    def log_probabilities(self, groups: range):
        """For each batch of groups: (groups, stride, V), rows dealt to the ranks and gathered again."""
        world = self.runtime.world
        for first in range(0, len(groups), self.batch):
            batch = list(groups[first : first + self.batch])
            rows = batch + [0] * (-len(batch) % world)  # every rank runs the same number of windows
            starts = [max(0, (group + 1) * self.stride - self.length) for group in rows]
            tokens = torch.stack([self.padded(start, self.length) for start in starts])
            offsets = torch.tensor([group * self.stride - start for group, start in zip(rows, starts, strict=True)])
            places = offsets[:, None] + torch.arange(self.stride)
            mine = slice(self.runtime.rank, None, world)
            logp = self.forward(tokens[mine].to(self.runtime.device), places[mine].to(self.runtime.device))
            if world > 1:
                part, logp = logp, logp.new_zeros(len(rows), self.stride, self.vocab_size)
                logp[mine] = part
                self.runtime.sum_(logp)
            yield logp[: len(batch)]

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Windows (B, L) and the places wanted in each (B, S) -> log-probabilities (B, S, V)."""
        hidden = self.hidden(tokens)
        wanted = hidden.gather(1, places[..., None].expand(-1, -1, hidden.size(-1)))
        return self.model.logits(wanted).log_softmax(dim=-1)

    def padded(self, start: int, count: int) -> Tensor:
        """stream[start : start + count], zeros past its end."""
        part = self.stream[start : start + count]
        return torch.from_numpy(np.pad(part, (0, count - len(part))))

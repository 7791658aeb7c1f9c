"""The sliding window: every position is read with up to `eval_length` tokens of context, however the stream is cut.

Positions are read in groups of `eval_stride`; a group is read through one window that ends with the group, so a
position's window depends on the position alone. Windows have one length, padded where tokens are not known yet:
causality makes the padding harmless, and equal shapes keep rounding equal. In fp32, where shapes matter little, tokens
of one window are read after the keys and values of those before. Position p predicts token p + 1.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from base.config import Eval
from base.evaluate.kv_cache import KeyValueCache
from base.evaluate.text import Text
from base.model.gpt import GPT
from base.runtime import Runtime

# Logits (n, V) and hidden states (n, D) at positions (n,) -> numbers (n, F) for each
Measure = Callable[[Tensor, Tensor, Tensor], Tensor]


class WindowReader:
    """Hidden states of positions, through windows or, inside one window, through its keys and values."""

    def __init__(self, knobs: Eval, runtime: Runtime, model: GPT, text: Text, compiled: bool):
        self.length, self.stride, self.batch = knobs.eval_length, knobs.eval_stride, knobs.eval_batch
        if not 0 < self.stride <= self.length:
            raise ValueError(f"got eval_stride {self.stride}, expected 1 to eval_length {self.length}")
        # The first group is shorter by `lead`, so that the first window is full at the end of a group
        self.lead = -self.length % self.stride
        self.runtime, self.model, self.text = runtime, model, text
        self.hidden = torch.compile(model.hidden) if compiled else model.hidden
        self.reset()

    def reset(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Drop what was computed: the weights have changed."""
        self.cache: KeyValueCache | None = None
        self.cached = np.zeros(0)
        self.start = -1  # of the window in the cache
        self.last: tuple[int, Tensor] | None = None  # a position and its hidden state (1, D)

    @property
    def may_continue(self) -> bool:
        """Whether a cache gives the same numbers: in bf16 another shape rounds otherwise, more than an audit takes."""
        return self.model.can_continue and self.runtime.dtype == torch.float32

    def group(self, position: int) -> int:
        return (position + self.lead) // self.stride

    def window_start(self, group: int) -> int:
        return max(0, (group + 1) * self.stride - self.lead - self.length)

    def read(self, first: int, last: int, measure: Measure) -> Tensor:
        """Numbers (last - first, F) of positions from `first` to before `last`, the same on every rank."""
        alone = self.runtime.world == 1  # each of several ranks would count these rows
        if alone and last - first == 1 and self.last is not None and self.last[0] == first:  # `predict` has read it
            return measure(*self.row(first), torch.tensor([first], device=self.runtime.device))
        start = self.window_start(self.group(last - 1))
        one_window = start == self.window_start(self.group(first)) and last - first < self.stride
        if alone and one_window and self.may_continue:
            hidden = self.continued(start, first, last)
            return measure(self.model.logits(hidden), hidden, torch.arange(first, last, device=hidden.device))
        found = None
        for positions, hidden in self.windows(first, last):
            inside = (positions >= first) & (positions < last)
            self.keep(positions, hidden, last - 1)
            numbers = measure(self.model.logits(hidden[inside]), hidden[inside], positions[inside])
            if found is None:
                found = numbers.new_zeros(last - first, numbers.size(1))
            found[positions[inside] - first] = numbers
        return self.runtime.all_reduce_(found)

    def row(self, position: int) -> tuple[Tensor, Tensor]:
        """Logits (1, V) and hidden state (1, D) of the last known position, computed by every rank for itself."""
        if self.last is None or self.last[0] != position:
            self.last = position, self.hidden_at(position)
        return self.model.logits(self.last[1]), self.last[1]

    def hidden_at(self, position: int) -> Tensor:
        group = self.group(position)
        if self.may_continue:
            return self.continued(self.window_start(group), position, position + 1)
        positions, hidden = self.forward([group])
        return hidden[positions == position]

    def keep(self, positions: Tensor, hidden: Tensor, last: int) -> None:
        if self.runtime.world == 1 and bool((positions == last).any()):
            self.last = last, hidden[positions == last]

    def windows(self, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Positions (n,) and hidden states (n, D) of this rank's share of the groups from `first` to `last` - 1."""
        groups, world = range(self.group(first), self.group(last - 1) + 1), self.runtime.world
        for begin in range(0, len(groups), self.batch):
            rows = list(groups[begin : begin + self.batch])
            padding = -len(rows) % world  # every rank runs the same number of windows
            own = (rows + rows[-1:] * padding)[self.runtime.rank :: world]
            positions, hidden = self.forward(own)
            if padding and self.runtime.rank >= world - padding:
                positions[-self.stride :] = -1  # another rank's window
            yield positions, hidden

    def forward(self, groups: list[int]) -> tuple[Tensor, Tensor]:
        """Positions (n,) of these groups and their hidden states (n, D)."""
        starts = [self.window_start(group) for group in groups]
        tokens = torch.stack([self.text.padded(start, self.length) for start in starts]).to(self.runtime.device)
        firsts = torch.tensor([group * self.stride - self.lead for group in groups])
        positions = (firsts[:, None] + torch.arange(self.stride)).to(self.runtime.device)
        offsets = (positions - torch.tensor(starts, device=positions.device)[:, None]).clamp_min(0)
        hidden = self.hidden(tokens)
        scored = hidden.gather(1, offsets[..., None].expand(-1, -1, hidden.size(-1)))
        return positions.flatten(), scored.flatten(0, 1)

    def continued(self, start: int, first: int, last: int) -> Tensor:
        """Hidden states (last - first, D) in the window from `start`, whose keys and values are kept between calls."""
        tokens = self.text[start:last]
        known = len(self.cached)
        if self.cache is None or start != self.start or known > first - start or (self.cached != tokens[:known]).any():
            self.cache, self.start, known = KeyValueCache(), start, 0
        hidden = self.model.hidden(torch.from_numpy(tokens.copy())[None].to(self.runtime.device), self.cache)
        self.cached = tokens.copy()
        return hidden[0, first - last :]

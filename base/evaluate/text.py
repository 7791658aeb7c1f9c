"""The scored stream: its last tokens, by their place from the start."""

import numpy as np
import torch
from torch import Tensor


class Text:
    """Keeps the last `kept` tokens at least; `seen` counts all."""

    def __init__(self, kept: int):
        self.kept = kept
        self.reset()

    def reset(self) -> None:
        self.seen, self.first = 0, 0
        self.buffer = np.zeros(2 * self.kept, dtype=np.int64)  # token i is at i - first

    def append(self, tokens: np.ndarray) -> None:
        if self.seen - self.first + len(tokens) > len(self.buffer):
            drop = max(self.seen - self.kept, self.first) - self.first
            rest = self.buffer[drop : self.seen - self.first]
            buffer = np.zeros(max(2 * self.kept, len(rest) + len(tokens)), dtype=np.int64)
            buffer[: len(rest)] = rest
            self.buffer, self.first = buffer, self.first + drop
        self.buffer[self.seen - self.first : self.seen - self.first + len(tokens)] = tokens
        self.seen += len(tokens)

    def __getitem__(self, places: slice) -> np.ndarray:
        """Tokens from places.start to places.stop, which must be kept; a view."""
        if not self.first <= places.start <= places.stop <= self.seen:
            raise IndexError(f"got tokens {places.start} to {places.stop}, expected {self.first} to {self.seen}")
        return self.buffer[places.start - self.first : places.stop - self.first]

    def padded(self, start: int, count: int) -> Tensor:
        """Tokens from `start` (count,), with zeros past the end of the stream."""
        part = self[start : min(start + count, self.seen)]
        return torch.from_numpy(np.pad(part, (0, count - len(part))))

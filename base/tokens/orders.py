"""Orders of the training windows: a window is (shard, first token) and has `length` + 1 tokens.

Each function yields one epoch, every window once, the same for any number of ranks. A step takes `batch` windows, and
`yielded` windows came in earlier epochs.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from math import gcd

import numpy as np
import torch

from base.model.attention.document_mask import BOS

Window = tuple[int, int]
MIXED_FIRST, MIXED_LAST, MIXING_BATCHES = 8, 64, 1800  # shards in one batch, at the start and after so many batches


def shuffled(
    shards: Sequence[np.ndarray], length: int, generator: torch.Generator, batch: int, yielded: int = 0
) -> Iterator[Window]:
    """Yield all windows of all shards in one random order."""
    ends = np.cumsum([count_windows(shard, length) for shard in shards])
    order = torch.randperm(int(ends[-1]), generator=generator).numpy()
    for index, shard in zip(order, np.searchsorted(ends, order, side="right"), strict=True):
        yield int(shard), int(index - ends[shard] + count_windows(shards[shard], length)) * length


def strided(
    shards: Sequence[np.ndarray], length: int, generator: torch.Generator, batch: int, yielded: int = 0
) -> Iterator[Window]:
    """Walk every shard by a stride coprime to its number of windows, from a random phase, with mixed batches (#1060).

    Early batches mix few shards and favor those with most windows left, later ones many (#1179's rates). The seeds key
    this to the file names; here SEED draws it.
    """
    random = numpy_generator(generator)
    counts, phases, firsts, strides = [], [], [], []
    for shard in shards:
        phase = int(random.integers(max(min(length, len(shard) - length), 1)))
        count = count_windows(shard[phase:], length)
        counts.append(count)
        phases.append(phase)
        firsts.append(int(random.integers(max(count, 1))))
        strides.append(coprime_stride(count, random))
    taken, left, batches = np.zeros(len(shards), dtype=np.int64), np.array(counts), yielded // batch
    while left.any():
        share = min(batches / MIXING_BATCHES, 1.0)
        batches += 1
        mixed = min(round(MIXED_FIRST + share * (MIXED_LAST - MIXED_FIRST)), np.count_nonzero(left), batch)
        weights = np.where(left > 0, left, 0.0) ** (0.9 - 0.4 * share) * (left > 0)
        chosen = random.choice(len(shards), mixed, replace=False, p=weights / weights.sum())
        probabilities = weights[chosen] / weights[chosen].sum()
        numbers = np.minimum(1 + random.multinomial(batch - mixed, probabilities), left[chosen])
        windows = [
            (shard, phases[shard] + (firsts[shard] + int(block) * strides[shard]) % counts[shard] * length)
            for shard, number in zip(chosen.tolist(), numbers.tolist(), strict=True)
            for block in range(taken[shard], taken[shard] + number)
        ]
        taken[chosen] += numbers
        left[chosen] -= numbers
        yield from (windows[index] for index in random.permutation(len(windows)))


def packed(
    shards: Sequence[np.ndarray], length: int, generator: torch.Generator, batch: int, yielded: int = 0
) -> Iterator[Window]:
    """Yield windows that begin with a document (#1530, #1855), shard after shard, shuffled within each."""
    random = numpy_generator(generator)
    for shard in random.permutation(len(shards)).tolist():
        firsts = document_windows(shards[shard], length)
        yield from ((shard, firsts[index]) for index in random.permutation(len(firsts)))


def document_windows(tokens: np.ndarray, length: int) -> list[int]:
    """Return the first tokens of windows: after each, the next start of a document, or its end inside a long document.

    The end of a document that a window cuts is left out, always less than a window.
    """
    starts = np.flatnonzero(tokens == BOS).tolist()
    firsts, first = [], starts[0] if starts else 0
    while first + length < len(tokens):
        firsts.append(first)
        first += length
        following = bisect_left(starts, first)
        if following < len(starts) and starts[following] < first + length:
            first = starts[following]
    return firsts


def count_windows(tokens: np.ndarray, length: int) -> int:
    """Return how many windows of `length` targets fit without overlap."""
    return max(len(tokens) - 1, 0) // length


def coprime_stride(count: int, random: np.random.Generator) -> int:
    """Return a random stride that visits all of `count` windows before it repeats."""
    if count < 2:
        return 1
    while True:
        stride = int(random.integers(1, count))
        if gcd(stride, count) == 1:
            return stride


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(torch.randint(2**62, (1,), generator=generator).numpy())


ORDERS = {"shuffled": shuffled, "strided": strided, "packed": packed}

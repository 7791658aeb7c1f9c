"""The order in which windows of the training shards come: a window is (shard, first token), `length` + 1 tokens long.

Each function gives one epoch, every window once, the same whatever the number of ranks; `batch` windows are a step, and
`done` were given in epochs before.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from math import gcd

import numpy as np
import torch

from base.model.documents import BOS

Window = tuple[int, int]
MIXED_FIRST, MIXED_LAST, MIXING_BATCHES = 8, 64, 1800  # shards in one batch, at the start and after so many batches


def shuffled(
    shards: Sequence[np.ndarray], length: int, draw: torch.Generator, batch: int, done: int = 0
) -> Iterator[Window]:
    """All windows of all shards in one random order."""
    ends = np.cumsum([windows(shard, length) for shard in shards])
    order = torch.randperm(int(ends[-1]), generator=draw).numpy()
    for place, shard in zip(order, np.searchsorted(ends, order, side="right"), strict=True):
        yield int(shard), int(place - ends[shard] + windows(shards[shard], length)) * length


def strided(
    shards: Sequence[np.ndarray], length: int, draw: torch.Generator, batch: int, done: int = 0
) -> Iterator[Window]:
    """Every shard in steps coprime to its number of windows, from a random phase; a batch mixes many shards (#1060).

    Early batches mix few shards and favour those with most left, later ones many (#1179's rates). The seeds key this
    to the names of the files; here SEED draws it.
    """
    random = numpy_generator(draw)
    counts, phases, firsts, strides = [], [], [], []
    for shard in shards:
        phase = int(random.integers(max(min(length, len(shard) - length), 1)))
        count = windows(shard[phase:], length)
        counts.append(count)
        phases.append(phase)
        firsts.append(int(random.integers(max(count, 1))))
        strides.append(coprime(count, random))
    taken, left, batches = np.zeros(len(shards), dtype=np.int64), np.array(counts), done // batch
    while left.any():
        share = min(batches / MIXING_BATCHES, 1.0)
        batches += 1
        mixed = min(round(MIXED_FIRST + share * (MIXED_LAST - MIXED_FIRST)), np.count_nonzero(left), batch)
        weights = np.where(left > 0, left, 0.0) ** (0.9 - 0.4 * share) * (left > 0)
        chosen = random.choice(len(shards), mixed, replace=False, p=weights / weights.sum())
        share_of = weights[chosen] / weights[chosen].sum()
        wanted = np.minimum(1 + random.multinomial(batch - mixed, share_of), left[chosen])
        found = [
            (shard, phases[shard] + (firsts[shard] + int(block) * strides[shard]) % counts[shard] * length)
            for shard, number in zip(chosen.tolist(), wanted.tolist(), strict=True)
            for block in range(taken[shard], taken[shard] + number)
        ]
        taken[chosen] += wanted
        left[chosen] -= wanted
        yield from (found[place] for place in random.permutation(len(found)))


def packed(
    shards: Sequence[np.ndarray], length: int, draw: torch.Generator, batch: int, done: int = 0
) -> Iterator[Window]:
    """Windows that begin with a document (#1530, #1855), shard after shard, shuffled within each."""
    random = numpy_generator(draw)
    for shard in random.permutation(len(shards)).tolist():
        firsts = document_windows(shards[shard], length)
        yield from ((shard, firsts[place]) for place in random.permutation(len(firsts)))


def document_windows(tokens: np.ndarray, length: int) -> list[int]:
    """First tokens of windows: after each, on to the next start of a document, or straight on inside a long one.

    What is left out is the end of the document that a window cuts, always less than a window.
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


def windows(tokens: np.ndarray, length: int) -> int:
    """How many windows of `length` targets fit side by side."""
    return max(len(tokens) - 1, 0) // length


def coprime(count: int, random: np.random.Generator) -> int:
    """A random stride that meets all of `count` places before it comes round."""
    if count < 2:
        return 1
    while True:
        stride = int(random.integers(1, count))
        if gcd(stride, count) == 1:
            return stride


def numpy_generator(draw: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(torch.randint(2**62, (1,), generator=draw).numpy())


ORDERS = {"shuffled": shuffled, "strided": strided, "packed": packed}

"""Training batches keyed by (seed, "data"): the same global batches for any number of ranks."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch

from base.config import Config, Data
from base.runtime import Runtime, generator
from base.tokens.orders import ORDERS, Window

Batch = tuple[torch.Tensor, torch.Tensor]  # tokens, targets, each (sequences of this rank, T)
PREFETCHED_BATCHES = 2  # read while the GPU works


def sequences(data: Data, world: int) -> int:
    """Return the sequences of one global batch; raises ValueError if ranks cannot share them equally."""
    count, rest = divmod(data.batch_tokens, data.sequence_length)
    if rest or count % world or not count:
        raise ValueError(
            f"batch_tokens {data.batch_tokens} must be a multiple of sequence_length {data.sequence_length} "
            f"times the number of ranks {world}"
        )
    return count


def micro_batches(data: Data, world: int) -> int:
    """Return the number of equal micro-batches in a rank's share: each of at most micro_tokens, or of one sequence."""
    rows = sequences(data, world) // world
    max_rows = max(data.micro_tokens // data.sequence_length, 1)
    return next(count for count in range(1, rows + 1) if rows % count == 0 and rows // count <= max_rows)


def batches(config: Config, runtime: Runtime, shards: list[np.ndarray]) -> Iterator[Batch]:
    """Yield endless batches on the device; on a GPU a thread prefetches into pinned memory."""
    pairs = (split_targets(torch.from_numpy(rows)) for rows in rank_rows(config, runtime, shards))
    if runtime.device.type == "cpu":  # a thread would take the core from the step
        yield from pairs
    for tokens, targets in prefetch(tuple(part.pin_memory() for part in pair) for pair in pairs):
        yield tokens.to(runtime.device, non_blocking=True), targets.to(runtime.device, non_blocking=True)


def split_targets(rows: torch.Tensor) -> Batch:
    """Rows (B, T + 1) as contiguous tokens and targets: torch.compile makes another program for another stride."""
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def rank_rows(config: Config, runtime: Runtime, shards: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield this rank's rows (sequences, T + 1) of each global batch; a batch may span two epochs."""
    count, length = sequences(config.data, runtime.world), config.data.sequence_length
    windows = endless_windows(config, shards, count)
    while True:
        own = list(islice(windows, count))[runtime.rank :: runtime.world]
        yield np.stack([shards[shard][first : first + length + 1] for shard, first in own]).astype(np.int64)


def endless_windows(config: Config, shards: list[np.ndarray], batch: int) -> Iterator[Window]:
    """Yield windows, epoch after epoch; raises ValueError if the data is too small for one batch."""
    random, length = generator(config.run.seed, "data"), config.data.sequence_length
    yielded = 0
    while True:
        in_epoch = 0
        for window in ORDERS[config.data.order](shards, length, random, batch, yielded):
            in_epoch += 1
            yield window
        yielded += in_epoch
        if in_epoch < batch:
            tokens = sum(map(len, shards))
            raise ValueError(f"expected {batch} windows of {length + 1} training tokens, got {in_epoch} of {tokens}")


def prefetch(items: Iterator) -> Iterator:
    """Yield the same items, produced in advance by a thread, whose exceptions are raised here."""
    with ThreadPoolExecutor(1) as pool:
        pending = deque(pool.submit(next, items) for _ in range(PREFETCHED_BATCHES))
        while True:
            yield pending.popleft().result()
            pending.append(pool.submit(next, items))

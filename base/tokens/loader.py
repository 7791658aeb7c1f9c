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

Batch = tuple[torch.Tensor, torch.Tensor]  # tokens, targets, both (sequences of this rank, T)
AHEAD = 2  # batches that are read while the GPU works


def sequences(data: Data, world: int) -> int:
    """Sequences of one global batch; raises ValueError where ranks cannot share them equally."""
    count, rest = divmod(data.batch_tokens, data.sequence_length)
    if rest or count % world or not count:
        raise ValueError(
            f"batch_tokens {data.batch_tokens} must be a multiple of sequence_length {data.sequence_length} "
            f"times the number of ranks {world}"
        )
    return count


def micro_batches(data: Data, world: int) -> int:
    """In how many equal pieces a rank takes its share of a batch: of at most micro_tokens, or of one sequence."""
    rows = sequences(data, world) // world
    most = max(data.micro_tokens // data.sequence_length, 1)
    return next(pieces for pieces in range(1, rows + 1) if rows % pieces == 0 and rows // pieces <= most)


def batches(config: Config, runtime: Runtime, shards: list[np.ndarray]) -> Iterator[Batch]:
    """Endless batches on the device; on a GPU a thread reads ahead into pinned memory."""
    made = (shifted(torch.from_numpy(rows)) for rows in rank_rows(config, runtime, shards))
    if runtime.device.type == "cpu":  # a thread would take the core from the step
        yield from made
    for tokens, targets in ahead(tuple(part.pin_memory() for part in pair) for pair in made):
        yield tokens.to(runtime.device, non_blocking=True), targets.to(runtime.device, non_blocking=True)


def shifted(rows: torch.Tensor) -> Batch:
    """Rows (B, T + 1) as contiguous tokens and targets: torch.compile makes another program for another stride."""
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def rank_rows(config: Config, runtime: Runtime, shards: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Rows (sequences of this rank, T + 1) of each global batch, which goes on into the next epoch."""
    count, length = sequences(config.data, runtime.world), config.data.sequence_length
    order = endless(config, shards, count)
    while True:
        mine = list(islice(order, count))[runtime.rank :: runtime.world]
        yield np.stack([shards[shard][first : first + length + 1] for shard, first in mine]).astype(np.int64)


def endless(config: Config, shards: list[np.ndarray], batch: int) -> Iterator[Window]:
    """Windows, epoch after epoch; raises ValueError for data too small for one batch."""
    draw, length = generator(config.run.seed, "data"), config.data.sequence_length
    done = 0
    while True:
        given = 0
        for window in ORDERS[config.data.order](shards, length, draw, batch, done):
            given += 1
            yield window
        done += given
        if given < batch:
            tokens = sum(map(len, shards))
            raise ValueError(f"expected {batch} windows of {length + 1} training tokens, got {given} of {tokens}")


def ahead(items: Iterator) -> Iterator:
    """The same items, made AHEAD of time by a thread; what goes wrong there is raised here."""
    with ThreadPoolExecutor(1) as pool:
        pending = deque(pool.submit(next, items) for _ in range(AHEAD))
        while True:
            yield pending.popleft().result()
            pending.append(pool.submit(next, items))

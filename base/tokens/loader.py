"""Training sequences in an order keyed by (seed, "data"), the same global batches for any number of ranks."""

from collections.abc import Iterator

import numpy as np
import torch

from base.config import Config
from base.runtime import Runtime, generator

Batch = tuple[torch.Tensor, torch.Tensor]  # tokens, targets, both (sequences of this rank, T)


def batches(config: Config, runtime: Runtime, stream: np.ndarray) -> Iterator[Batch]:
    """Endless batches; each epoch visits every window of `sequence_length` + 1 tokens once, shuffled."""
    length = config.data.sequence_length
    sequences = config.data.batch_tokens // length
    if sequences * length != config.data.batch_tokens or sequences % runtime.world:
        raise ValueError(
            f"batch_tokens {config.data.batch_tokens} must be a multiple of sequence_length {length} "
            f"times the number of ranks {runtime.world}"
        )
    windows = (len(stream) - 1) // length
    if windows < sequences:
        raise ValueError(f"expected at least {sequences * length + 1} training tokens, got {len(stream)}")
    draw = generator(config.run.seed, "data")
    while True:
        order = torch.randperm(windows, generator=draw)
        for start in range(0, windows - sequences + 1, sequences):
            mine = order[start + runtime.rank : start + sequences : runtime.world].tolist()
            rows = np.stack([stream[i * length : (i + 1) * length + 1] for i in mine]).astype(np.int64)
            rows = torch.from_numpy(rows).to(runtime.device, non_blocking=True)
            yield rows[:, :-1], rows[:, 1:]

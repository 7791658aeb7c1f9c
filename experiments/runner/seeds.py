"""Checks that the seed matters: the harness varies the data it hands out, and a seed must change what is measured.

A program that ignores its seed would carry one lucky draw to all seeds, and its spread would say nothing. So the
harness varies the order of the shards and the offset of the first one with a data seed of its own: a new one for each
batch of seeds, the same for both sides of a pair. Within a batch losses are compared token by token, because two
artifacts that differ can still be the same model plus a few bits of the seed.
"""

import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from common.errors import Refused
from common.state import State
from data.corpus import Corpus
from data.shards import read_shard, write_shard
from experiments.ledger.measurement import Measurement

MAX_OFFSET_TOKENS = 4_096  # by which the start of the first shard may move
MIN_RELATIVE_CHANGE = 0.1  # of the amount by which two seeds change the losses of an incumbent


def shuffle_shards(corpus: Corpus, folder: Path, seed: int) -> Path:
    """Create the training shards for a data seed in `folder`: links in another order, the first shard cut at its start.

    No token is lost but those before the offset, and the names are the challenge's. Returns `folder`.
    """
    rng = np.random.default_rng(seed)
    shards = corpus.shards("train")
    folder.mkdir(parents=True)
    for position, index in enumerate(rng.permutation(len(shards))):
        shuffled = folder / f"fineweb_train_{position:06d}.bin"
        if position:
            _link(shards[index], shuffled)
        else:
            tokens = read_shard(shards[index])
            write_shard(shuffled, tokens[int(rng.integers(min(MAX_OFFSET_TOKENS, len(tokens) // 2) + 1)) :])
            shuffled.chmod(shards[index].stat().st_mode)
    return folder


def _link(shard: Path, link: Path) -> None:
    try:
        os.link(shard, link)
    except OSError:  # another file system, or another owner's file
        link.symlink_to(shard.resolve())


Batches = Sequence[Sequence[Path]]  # of files of losses, one per seed; within a batch the data were the same


def require_seeds_matter(measured: list[Measurement], losses: Batches = (), known: Batches = ()) -> None:
    """Check that every seed gave another artifact and that losses change between seeds.

    Args:
        measured: The program's measurements, one per seed.
        losses: The program's losses.
        known: Losses of programs that use their seed; the last batch with a pair sets the scale.

    Raises:
        Refused: Two seeds gave the same artifact or almost the same losses.
    """
    if len({measurement.artifact_sha256 for measurement in measured}) < len(measured):
        message = f"got the same artifact twice in {len(measured)} seeds, expected one for each"
        raise Refused(State.SEED_IGNORED, message)
    pairs = [batch for batch in known if len(batch) > 1]
    least = MIN_RELATIVE_CHANGE * (smallest_loss_change(pairs[-1:]) or 0.0)
    change = smallest_loss_change(losses)
    if change is not None and change <= least:
        message = f"got losses that change by {change:.3g} nats between two seeds, token by token"
        raise Refused(State.SEED_IGNORED, f"{message}, expected more than {least:.3g}")


def smallest_loss_change(batches: Batches) -> float | None:
    """Return the RMS of the per-token loss difference of the closest pair of seeds; None without a pair."""
    changes = []
    for batch in batches:
        losses = [np.load(path).astype(np.float32) for path in batch if path.exists()]
        pairs = [(first, second) for first, second in combinations(losses, 2) if len(first) == len(second)]
        changes += [float(np.sqrt(np.square(first - second).mean())) for first, second in pairs]
    return min(changes, default=None)

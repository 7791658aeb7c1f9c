"""Luck that cannot be fixed: the harness moves the data that it hands out, and a seed has to move what is measured.

A program that ignores its seed would carry one lucky draw to all of them, and its spread would say nothing. So the
harness turns the order of the shards and where the first one begins, by a seed of its own for each batch of seeds, the
same for both sides of a pair; and within a batch losses are compared token by token, since an artifact that differs
can be the same model with a few bits of the seed.
"""

import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from data.corpus import Corpus
from data.errors import Refused
from data.shards import read_shard, write_shard
from data.state import State
from experiments.job import Measured

MOST_OFFSET = 4_096  # tokens that the first shard may begin later
LEAST_MOVED = 0.1  # of what two seeds move the losses of an incumbent


def released(corpus: Corpus, folder: Path, seed: int) -> Path:
    """The training shards as a data seed turns them, in a folder of their own: links in another order, one of them cut.

    No token is lost but those before the offset, and the names are the challenge's.
    """
    draw = np.random.default_rng(seed)
    shards = corpus.shards("train")
    folder.mkdir(parents=True)
    for place, index in enumerate(draw.permutation(len(shards))):
        made = folder / f"fineweb_train_{place:06d}.bin"
        if place:
            _link(shards[index], made)
        else:
            tokens = read_shard(shards[index])
            write_shard(made, tokens[int(draw.integers(min(MOST_OFFSET, len(tokens) // 2) + 1)) :])
            made.chmod(shards[index].stat().st_mode)
    return folder


def _link(shard: Path, made: Path) -> None:
    try:
        os.link(shard, made)
    except OSError:  # another file system, or another owner's file
        made.symlink_to(shard.resolve())


Batches = Sequence[Sequence[Path]]  # of files of losses, a file a seed; within one, data were the same


def require_seeds_matter(measured: list[Measured], losses: Batches = (), known: Batches = ()) -> None:
    """Two seeds, two artifacts, and losses that move between them; raises Refused.

    `losses` are the program's, and the last batch of `known` is of who was found to use its seed.
    """
    if len({one.artifact_sha256 for one in measured}) < len(measured):
        found = f"got the same artifact twice in {len(measured)} seeds, expected one for each"
        raise Refused(State.SEED_IGNORED, found)
    pairs = [batch for batch in known if len(batch) > 1]
    least = LEAST_MOVED * (smallest_move(pairs[-1:]) or 0.0)
    moved = smallest_move(losses)
    if moved is not None and moved <= least:
        found = f"got losses that two seeds move by {moved:.3g} nats, token by token"
        raise Refused(State.SEED_IGNORED, f"{found}, expected more than {least:.3g}")


def smallest_move(batches: Batches) -> float | None:
    """Root mean square of how far two seeds are apart, token by token, of the closest pair; None without a pair."""
    moves = []
    for batch in batches:
        held = [np.load(path).astype(np.float32) for path in batch if path.exists()]
        pairs = [(one, other) for one, other in combinations(held, 2) if len(one) == len(other)]
        moves += [float(np.sqrt(np.square(one - other).mean())) for one, other in pairs]
    return min(moves, default=None)

"""Selective pruning in packing: the cheapest integers of +1 and -1 become 0 until the artifact fits (#1019).

A 1 costs its row's squared scale when it goes; the order follows from the weights alone, so `pack` still decides
nothing but how many. The harness checks that exactly these went (preflight/candidate/packing.py).
"""

import numpy as np

from base.compress import artifact
from base.compress.container import Arrays, load
from base.compress.streams import CODECS, INTEGERS, SCALES, Stream
from base.config import Pack

CLOSE_SHARE, CLOSE_BYTES = 4_000, 64  # 1/4000 of the cap under it, or so many bytes, and done
MOST_TRIES = 6


def pack_within(weights: bytes, cap_bytes: int, allowed: tuple[str, ...]) -> bytes:
    """Return the artifact of weights.bin, pruned as little as brings it to `cap_bytes`.

    The size falls nearly in proportion to the number pruned, so a few secant steps end close to the cap.
    If it is too large even without any 1, it is returned unpruned: then the model is too large, by far.
    """
    meta, arrays = load(weights)
    order = pruning_order(arrays)
    coded = artifact.encode(arrays, allowed)
    whole = artifact.assemble(meta, arrays, coded)
    if len(whole) <= cap_bytes or not len(order):
        return whole
    fits, best = None, whole
    few, few_bytes = 0, len(whole)  # too few pruned
    many, many_bytes = len(order), 0  # enough, as a guess that is replaced
    close = max(cap_bytes // CLOSE_SHARE, CLOSE_BYTES)
    guess = min(int(6 * (len(whole) - cap_bytes)), len(order))  # a 1 costs a bit or two more than a 0
    for _ in range(MOST_TRIES):
        packed = _pack_pruned(meta, arrays, order[:guess], coded, allowed)
        if len(packed) <= cap_bytes:
            fits, best, many, many_bytes = packed, packed, guess, len(packed)
            if cap_bytes - len(packed) <= close:
                break
        else:
            if guess == len(order):
                break
            few, few_bytes = guess, len(packed)
        target = cap_bytes - close // 2
        slope = (few_bytes - many_bytes) / (many - few) if fits else (len(whole) - few_bytes) / max(few, 1)
        guess = min(max(few + int((few_bytes - target) / max(slope, 1e-3)), few + 1), many - 1 if fits else len(order))
    return best


def codecs_of(pack: Pack) -> tuple[str, ...]:
    """The codecs that the knob allows."""
    allowed = tuple(filter(None, pack.codecs.split(",")))
    if unknown := set(allowed) - set(CODECS):
        raise ValueError(f"codecs: got {', '.join(sorted(unknown))}, expected some of {', '.join(CODECS)}")
    return allowed


def pruning_order(arrays: Arrays) -> np.ndarray:
    """Positions of all +1 and -1, cheapest first, (n,) int64; positions count through the integer arrays by name."""
    positions, costs, start = [], [], 0
    for name in sorted(name for name in arrays if name.endswith(INTEGERS)):
        integers = arrays[name]
        scales = arrays[name.removesuffix(INTEGERS) + SCALES]
        ones = np.flatnonzero(np.abs(integers.ravel()) == 1)
        positions.append(start + ones)
        costs.append(scales.view(np.uint16)[ones // integers.shape[-1]])  # positive fp16 sort like their bits
        start += integers.size
    if not positions:
        return np.empty(0, np.int64)
    return np.concatenate(positions)[np.argsort(np.concatenate(costs), kind="stable")]


def prune(arrays: Arrays, positions: np.ndarray) -> Arrays:
    """Return the arrays with these positions set to zero."""
    pruned, positions, start = dict(arrays), np.sort(positions), 0
    for name in sorted(name for name in arrays if name.endswith(INTEGERS)):
        end = start + arrays[name].size
        here = positions[np.searchsorted(positions, start) : np.searchsorted(positions, end)] - start
        if len(here):
            pruned[name] = arrays[name].copy()
            pruned[name].ravel()[here] = 0
        start = end
    return pruned


def _pack_pruned(
    meta: dict, arrays: Arrays, positions: np.ndarray, coded: list[Stream], allowed: tuple[str, ...]
) -> bytes:
    pruned = prune(arrays, positions)
    changed = {name for name in arrays if pruned[name] is not arrays[name]}
    return artifact.assemble(meta, pruned, artifact.encode(pruned, allowed, coded, changed))

"""Calibration of CPU seconds: the time of a fixed piece of work, measured before a candidate runs.

CPU seconds of equal work differ by a tenth and more on a shared machine, because neighbors take cache and clock. A
fixed budget would then end trials that did nothing wrong, so it grows with the measured slowdown.
"""

import time

import numpy as np

ROUNDS = 20
MAX_SLOWDOWN = 1.1  # a budget grows by no more than this


def cpu_seconds() -> float:
    """Time small matrix products and passes over a few megabytes, like those of a pocket step; best of three."""
    rows = np.full((2048, 64), 0.5, dtype=np.float32)
    matrix = np.full((64, 192), 0.01, dtype=np.float32)
    times = []
    for _ in range(3):
        started = time.thread_time()
        for _ in range(ROUNDS):
            hidden = np.einsum("ij,jk->ik", rows, matrix, optimize=False)
            np.square(np.maximum(hidden, 0.5 * hidden)).sum(axis=1)
        times.append(time.thread_time() - started)
    return min(times)


def slowdown(now_seconds: float, reference_seconds: float) -> float:
    """Return how many times slower the machine is than at the reference, between 1 and MAX_SLOWDOWN."""
    return min(max(1.0, now_seconds / reference_seconds), MAX_SLOWDOWN)

"""How fast is this machine right now? CPU seconds of a fixed piece of work, before a candidate runs.

CPU seconds of equal work differ by a tenth and more on a shared machine, as neighbours take cache and clock. A
budget in CPU seconds would then end honest trials, so it grows with the yardstick's slowdown.
"""

import time

import numpy as np

ROUNDS = 20
MOST = 1.1  # no slowdown buys more than this


def cpu_seconds() -> float:
    """Small matrix products and passes over a few megabytes, as a pocket step has them; best of three."""
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
    """How many times slower than at the reference, between 1 and MOST."""
    return min(max(1.0, now_seconds / reference_seconds), MOST)

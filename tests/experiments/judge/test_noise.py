"""Tests of the noise floor and its p-values."""

from math import sqrt

import numpy as np
import pytest

from experiments.judge.noise import Noise


def test_the_noise_floor_is_the_pooled_spread():
    rng = np.random.default_rng(3)
    batches = [rng.normal(0, 1, count) for count in (4, 3, 2, 5)]
    noise = Noise.expected(2.0, degrees=2)
    for batch in batches:
        noise = noise.with_replicates(list(batch))
    squares = 2 * 2.0**2 + 2 * sum(batch.var(ddof=0) * len(batch) for batch in batches)
    assert noise.degrees == 2 + 3 + 2 + 1 + 4
    assert noise.difference_sd == pytest.approx(sqrt(squares / noise.degrees))
    assert noise.with_replicates([0.3]) == noise  # one value has no spread


def test_p_values_of_null_differences_are_uniform():
    """5 % of null differences have p < 0.05, even with few replicates: the floor counts as an estimate."""
    rng = np.random.default_rng(4)
    count, hits = 4000, 0
    for _ in range(count):
        noise = Noise.expected(1.0, degrees=1e-9).with_replicates(list(rng.normal(0, 1, 4)))
        difference = rng.normal(0, 1, 2).mean() - rng.normal(0, 1, 2).mean()
        hits += noise.p_value(float(difference), pairs=2) < 0.05
    assert abs(hits - 0.05 * count) < 4 * sqrt(count * 0.05 * 0.95)

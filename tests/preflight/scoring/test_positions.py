"""Tests of probe positions: their distribution, and how often the gap bound holds."""

import numpy as np
import pytest

from preflight.scoring import positions


def test_tokens_with_a_high_claimed_loss_are_probed_more_often():
    """A high claimed loss shows no gain but may hide a far higher one; the LOSS share of the mixture finds it."""
    claimed = np.full(4001, 0.1, dtype=np.float32)
    claimed[1::400] = 7.0
    probed = positions.draw(claimed, claimed, 40_000, np.random.default_rng(0))
    share = np.isin(probed.chosen, np.arange(1, 4001, 400)).mean()
    by_loss = positions.LOSS * 10 * 7.0 / (10 * 7.0 + 3990 * 0.1)
    even = (1 - positions.LOSS) * 10 / 4000  # no gain is claimed, so the GAIN share is uniform as well
    assert share == pytest.approx(by_loss + even, rel=0.1)


@pytest.mark.parametrize("referenced", [False, True])
def test_the_gap_bound_holds_as_often_as_stated(referenced):
    """Bias of random size, rate and position exceeds it in at most 1 % of runs (Maurer & Pontil)."""
    rng, tolerance, exceeded, runs = np.random.default_rng(7), 1e-3, 0, 400
    errors = []
    for _ in range(runs):
        claimed = rng.exponential(2.0, 3000).astype(np.float32)
        reference = np.maximum(claimed + rng.normal(0, 0.2, 3000), 0).astype(np.float32) if referenced else None
        size, rate = tolerance * rng.random(), 10.0 ** rng.uniform(-3, 0)
        bias = np.where(rng.random(3000) < rate, size, 0.0)
        if rng.random() < 0.5:
            bias = np.where(claimed > np.quantile(claimed, 1 - rate), size, 0.0)
        probed = positions.draw(claimed, reference, 200, rng)
        gap = positions.gap(bias[probed.chosen], probed, tolerance)
        exceeded += bias[1:].mean() > gap.bound
        errors.append(gap.mean - bias[1:].mean())
    assert exceeded <= 0.01 * runs
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(runs)  # the estimate has no bias

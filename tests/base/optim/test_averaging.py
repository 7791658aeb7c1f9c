"""Weight averages against closed forms."""

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from base.config import Average  # noqa: E402
from base.optim.averaging import WeightAverage  # noqa: E402


def average_random_weights(knobs, steps=200):
    """Return an average over random weights, its weights, the weights after each step, and the EMA's closed form."""
    weights = torch.zeros(6)
    average, walk, means = WeightAverage(knobs, weights), [], []
    mean = weights.clone()
    for step in range(steps):
        weights.copy_(torch.randn(6, generator=torch.Generator().manual_seed(step)))
        progress = step / steps
        average.update(step, progress, min(1.0, 2 * (1 - progress)))
        decay = min(knobs.ema_decay, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * weights
        walk.append(weights.clone())
        means.append(mean)
    return average, weights, walk, means


def test_the_average_is_its_closed_form():
    average, weights, _, means = average_random_weights(Average(ema_decay=0.9))
    assert average.apply() is None
    torch.testing.assert_close(weights, means[-1])


def test_no_average_means_the_last_weights():
    average, weights, walk, _ = average_random_weights(Average(ema_decay=0.0))
    average.apply()
    assert torch.equal(weights, walk[-1])


def test_late_snapshots_are_averaged_and_used():
    """Every tenth step of the last 40 % of 200: 130, 140, ..., 200."""
    average, weights, walk, _ = average_random_weights(Average(swa="late", swa_every=10, swa_share=0.4))
    average.apply()
    torch.testing.assert_close(weights, torch.stack(walk[129::10]).mean(dim=0))


def test_tight_snapshots_of_the_ema_join_it():
    """#850: .7 EMA + .3 mean of its snapshots while lr is below .2, in this test after step 180."""
    knobs = Average(ema_decay=0.9, swa="tight", swa_every=5, swa_weight=0.3, swa_of_ema=True)
    average, weights, _, means = average_random_weights(knobs)
    average.apply()
    assert average.snapshots == 4
    snapshots = torch.stack([means[step - 1] for step in (185, 190, 195, 200)]).mean(dim=0)
    torch.testing.assert_close(weights, 0.7 * means[-1] + 0.3 * snapshots)


def test_missing_snapshots_are_reported():
    average, weights, _, means = average_random_weights(Average(ema_decay=0.9, swa="tight", swa_every=1000))
    assert "no snapshot" in average.apply()
    torch.testing.assert_close(weights, means[-1])

"""Schedules at their corner points; averages against closed forms."""

import dataclasses
from math import cos, pi

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from base.config import Average as Knobs  # noqa: E402
from base.config import Config, Optim, Run  # noqa: E402
from base.optim.averaging import Average  # noqa: E402
from base.optim.schedule import lr_scale, muon_momentum  # noqa: E402
from base.runtime import Runtime  # noqa: E402
from base.train import Clock  # noqa: E402

BY_STEPS = Run(iterations=100)
BY_TIME = Run(iterations=10**9, max_wallclock_seconds=100.0)


def test_lr_at_its_corner_points():
    run, optim = Run(iterations=100), Optim(warmdown_iterations=40)
    assert [lr_scale(run, optim, step, 0.0) for step in (0, 60, 80, 100)] == [1.0, 1.0, 0.5, 0.0]
    timed = dataclasses.replace(run, iterations=10**9, max_wallclock_seconds=100.0)
    assert lr_scale(timed, optim, 50, 50.0, 1.0) == 1.0  # 40 steps of 1 s fit in the 50 s left
    assert lr_scale(timed, optim, 80, 80.0, 1.0) == pytest.approx(0.5)
    assert lr_scale(timed, optim, 101, 101.0, 1.0) == 0.0


@pytest.mark.parametrize("first_step_seconds", [0.1, 5.0, 60.0])
def test_a_slow_first_step_starts_no_warmdown(first_step_seconds):
    """In #962 it did: elapsed time over steps was huge, and what waits for a low rate began at step 1."""
    here = Runtime(0, 1, torch.device("cpu"), torch.float32)
    config = Config(run=BY_TIME, optim=Optim(warmdown_iterations=200))
    clock, seconds, step = Clock(config, here), first_step_seconds, 1
    assert lr_scale(BY_TIME, config.optim, 0, 0.0, clock.step_seconds(0, 0.0)) == 1.0
    while seconds < 100.0:
        scale = lr_scale(BY_TIME, config.optim, step, seconds, clock.step_seconds(step, seconds))
        assert scale == pytest.approx(min(1.0, (100.0 - seconds) / 20.0), abs=1e-6), step
        seconds, step = seconds + 0.1, step + 1
    assert step > 300


def test_a_fraction_falls_to_its_floor():
    """#1855: over the last 85 % of the run, never below a tenth."""
    optim = Optim(warmdown="fraction", warmdown_share=0.85, lr_floor=0.10)
    expected = [1.0, 1.0, 0.5, 0.1, 0.1]
    for run, places in (
        (BY_STEPS, [(s, 0.0) for s in (0, 15, 57.5, 99, 100)]),
        (BY_TIME, [(9, s) for s in (0, 15, 57.5, 99, 100)]),
    ):
        assert [lr_scale(run, optim, *place) for place in places] == pytest.approx(expected)
    assert lr_scale(BY_TIME, optim, 1, 10.0) == 1.0  # a slow first step alone moves nothing


def test_wsd_is_flat_and_then_half_a_cosine():
    """#850: 1 until 75 % of the wallclock, then (1 + cos(pi (f - .75) / .25)) / 2."""
    optim = Optim(warmdown="wsd", warmdown_share=0.25)
    for share in (0.0, 0.5, 0.75):
        assert lr_scale(BY_STEPS, optim, round(100 * share), 0.0) == lr_scale(BY_TIME, optim, 5, 100 * share) == 1.0
    for share in (0.80, 0.875, 0.99, 1.0):
        expected = pytest.approx(0.5 * (1 + cos(pi * (share - 0.75) / 0.25)), abs=1e-12)
        assert lr_scale(BY_STEPS, optim, 100 * share, 0.0) == expected
        assert lr_scale(BY_TIME, optim, 5, 100 * share) == expected


@pytest.mark.parametrize("form", ["linear", "fraction", "wsd"])
def test_a_floor_holds_and_scales_never_rise(form):
    optim = Optim(warmdown=form, warmdown_iterations=40, warmdown_share=0.4, lr_floor=0.05)
    for run, places in ((BY_STEPS, [(s, 0.0) for s in range(101)]), (BY_TIME, [(s, float(s)) for s in range(101)])):
        scales = [lr_scale(run, optim, *place, step_seconds=1.0) for place in places]
        assert scales == sorted(scales, reverse=True)
        assert (scales[0], scales[-1]) == (1.0, 0.05)


def test_momentum_rises_linearly():
    optim = Optim(muon_momentum_start=0.8, muon_momentum=0.9, muon_momentum_steps=10)
    assert [muon_momentum(optim, step) for step in (0, 5, 10, 99)] == pytest.approx([0.8, 0.85, 0.9, 0.9])


def walked(knobs, steps=200):
    """An Average over random weights, the weights after each step, and its EMA's closed form."""
    weights = torch.zeros(6)
    average, walk, means = Average(knobs, weights), [], []
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
    average, weights, _, means = walked(Knobs(ema_decay=0.9))
    assert average.apply() is None
    torch.testing.assert_close(weights, means[-1])


def test_no_average_means_the_last_weights():
    average, weights, walk, _ = walked(Knobs(ema_decay=0.0))
    average.apply()
    assert torch.equal(weights, walk[-1])


def test_late_snapshots_are_averaged_and_used():
    """Every tenth step of the last 40 % of 200: 130, 140, ..., 200."""
    average, weights, walk, _ = walked(Knobs(swa="late", swa_every=10, swa_share=0.4))
    average.apply()
    torch.testing.assert_close(weights, torch.stack(walk[129::10]).mean(dim=0))


def test_tight_snapshots_of_the_ema_join_it():
    """#850: .7 EMA + .3 mean of its snapshots while lr is below .2, here the steps after 180."""
    knobs = Knobs(ema_decay=0.9, swa="tight", swa_every=5, swa_weight=0.3, swa_of_ema=True)
    average, weights, _, means = walked(knobs)
    average.apply()
    assert average.taken == 4
    snapshots = torch.stack([means[step - 1] for step in (185, 190, 195, 200)]).mean(dim=0)
    torch.testing.assert_close(weights, 0.7 * means[-1] + 0.3 * snapshots)


def test_snapshots_that_never_came_are_told():
    average, weights, _, means = walked(Knobs(ema_decay=0.9, swa="tight", swa_every=1000))
    assert "no snapshot" in average.apply()
    torch.testing.assert_close(weights, means[-1])

"""Schedules at their corner points."""

import dataclasses
from math import cos, pi

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from base.config import Config, Optim, Run  # noqa: E402
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
    """In #962 it did: elapsed time over steps was huge, so the warmdown and all that waits for it began at step 1."""
    runtime = Runtime(0, 1, torch.device("cpu"), torch.float32)
    config = Config(run=BY_TIME, optim=Optim(warmdown_iterations=200))
    clock, seconds, step = Clock(config, runtime), first_step_seconds, 1
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
    for run, points in (
        (BY_STEPS, [(s, 0.0) for s in (0, 15, 57.5, 99, 100)]),
        (BY_TIME, [(9, s) for s in (0, 15, 57.5, 99, 100)]),
    ):
        assert [lr_scale(run, optim, *point) for point in points] == pytest.approx(expected)
    assert lr_scale(BY_TIME, optim, 1, 10.0) == 1.0  # a slow first step alone changes nothing


def test_wsd_is_flat_and_then_half_a_cosine():
    """#850: 1 until 75 % of the wallclock, then (1 + cos(pi (f - .75) / .25)) / 2."""
    optim = Optim(warmdown="wsd", warmdown_share=0.25)
    for progress in (0.0, 0.5, 0.75):
        assert (
            lr_scale(BY_STEPS, optim, round(100 * progress), 0.0) == lr_scale(BY_TIME, optim, 5, 100 * progress) == 1.0
        )
    for progress in (0.80, 0.875, 0.99, 1.0):
        expected = pytest.approx(0.5 * (1 + cos(pi * (progress - 0.75) / 0.25)), abs=1e-12)
        assert lr_scale(BY_STEPS, optim, 100 * progress, 0.0) == expected
        assert lr_scale(BY_TIME, optim, 5, 100 * progress) == expected


@pytest.mark.parametrize("form", ["linear", "fraction", "wsd"])
def test_a_floor_holds_and_scales_never_rise(form):
    optim = Optim(warmdown=form, warmdown_iterations=40, warmdown_share=0.4, lr_floor=0.05)
    for run, points in ((BY_STEPS, [(s, 0.0) for s in range(101)]), (BY_TIME, [(s, float(s)) for s in range(101)])):
        scales = [lr_scale(run, optim, *point, step_seconds=1.0) for point in points]
        assert scales == sorted(scales, reverse=True)
        assert (scales[0], scales[-1]) == (1.0, 0.05)


def test_momentum_rises_linearly():
    optim = Optim(muon_momentum_start=0.8, muon_momentum=0.9, muon_momentum_steps=10)
    assert [muon_momentum(optim, step) for step in (0, 5, 10, 99)] == pytest.approx([0.8, 0.85, 0.9, 0.9])

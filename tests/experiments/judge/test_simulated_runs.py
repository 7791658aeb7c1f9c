"""Tests of the acceptance rule on simulated runs whose true effects are known."""

from math import sqrt

import numpy as np

from dev.benchmarks.simulations.judge import SEED_SD, simulate_run
from experiments.judge.noise import Noise
from experiments.judge.rule import RULES

CADDIE = RULES["caddie"]


def simulate(effects, count=300, shared=0.0):
    """Simulate `count` runs of one trial for each effect."""
    return [simulate_run(CADDIE, np.array(effects), np.random.default_rng(seed), shared) for seed in range(count)]


def test_a_planted_gain_is_kept_and_a_planted_loss_never():
    """Each is three detectable effects, in simulated runs; trial/test_compare.py plants them in real runs."""
    effect = 3 * CADDIE.detectable(Noise.expected(SEED_SD * sqrt(2.0), degrees=8))
    kept = [result.kept for result in simulate([-effect])]
    assert np.mean(kept) >= 0.9
    assert sum(result.kept for result in simulate([effect], count=2000)) == 0


def test_a_run_without_effects_reports_less_than_greedy_and_keeps_little():
    null = [simulate_run(CADDIE, np.zeros(60), np.random.default_rng(seed), 0.0) for seed in range(60)]
    greedy = [simulate_run(RULES["greedy"], np.zeros(60), np.random.default_rng(seed), 0.0) for seed in range(60)]
    assert sum(result.kept for result in null) < 0.02 * 60 * 60
    assert np.mean([result.reported for result in greedy]) > 3 * np.mean([result.reported for result in null])

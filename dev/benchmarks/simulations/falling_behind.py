"""Simulate how often an unbiased incumbent is ended for falling behind, and how far a biased one sinks unnoticed.

.venv/bin/python -m dev.benchmarks.simulations.falling_behind --incumbents 20000
"""

from dataclasses import dataclass
from statistics import fmean

import numpy as np
import typer

from experiments.judge.noise import Noise
from experiments.judge.rule import RULES, Evidence, Step
from experiments.tiers import PROFILES
from experiments.trial.incumbent import FRESH_TRIES, falls_behind

DEPTHS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0)  # sd of a difference between equals
SPREADS = (1.0, 1.5, 2.0)  # of its seeds, relative to the trees before it


@dataclass(frozen=True)
class Kept:
    """An incumbent's own fresh values, selected for being low like those of every keep, and the earlier noise floor."""

    values: list[float]
    noise: Noise


def draw_kept(rng: np.random.Generator, sd: float, spread: float) -> Kept:
    """Draw a trial with a gain of the size of the noise that the rule in use keeps, against three baseline seeds."""
    rule = RULES["caddie"]
    while True:
        start = rng.normal(0.0, sd, rule.seeds)
        noise = PROFILES["pocket"].tier.expected_noise.with_replicates(list(start))
        gain = rng.exponential(sd)
        search = [float(rng.normal(-gain, sd * spread) - start[0])]
        if rule.step(Evidence(search), noise, 0.0, False) is not Step.FRESH:
            continue
        candidate, baseline = rng.normal(-gain, sd * spread, rule.fresh), rng.normal(0.0, sd, rule.fresh)
        if rule.step(Evidence(search, list(candidate - baseline)), noise, 0.0, False) is Step.KEPT:
            return Kept([float(value + gain) for value in candidate], noise)  # around its own true value


def main(incumbents: int = 20_000) -> None:
    """Print a Markdown table."""
    sd = PROFILES["pocket"].tier.expected_noise.difference_sd / 2**0.5
    rng = np.random.default_rng(0)
    print("| spread of its seeds | sinks by, sd of a difference | one fresh seed is behind | all three: ended |")
    print("|---|---|---|---|")
    for spread in SPREADS:
        keeps = [draw_kept(rng, sd, spread) for _ in range(incumbents)]
        for depth in DEPTHS if spread == SPREADS[0] else DEPTHS[:1]:
            shift = depth * sd * 2**0.5
            looks = [
                [
                    falls_behind(float(value), keep.values, keep.noise)
                    for value in rng.normal(shift, sd * spread, FRESH_TRIES)
                ]
                for keep in keeps
            ]
            first, ended = fmean(look[0] for look in looks), fmean(all(look) for look in looks)
            print(f"| {spread:g} | {depth:g} | {first:.2%} | {ended:.3%} |")


if __name__ == "__main__":
    typer.run(main)

"""Compare acceptance rules on many simulated runs under each.

.venv/bin/python -m dev.benchmarks.simulations.judge --nights 500
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from math import sqrt
from statistics import fmean

import numpy as np
import typer
from scipy.stats import binom

from experiments.judge.noise import Noise
from experiments.judge.rule import RULES, Evidence, Rule, Step
from experiments.trial.compare import rotate

SEED_SD = 0.0007  # bpb, from official records
TRIALS = 100
COLUMNS = (
    *("rule", "measurements", "kept", "false keeps", "share false", "true gain, mbpb", "of the available"),
    *("reported - true, mbpb", "gain per 100 measurements"),
)


@dataclass(frozen=True)
class SimulatedRun:
    """The outcome of one run; gains in bpb, positive = better."""

    kept: int
    false: int  # kept although the true effect is not a gain
    gain: float
    reported: float  # baseline's recorded value minus the last incumbent's
    available: float
    measurements: int


class World:
    """Simulated scores: a level, the effect of a seed on every tree, and its effect on one tree alone."""

    def __init__(self, rng: np.random.Generator, shared: float) -> None:
        self.rng, self.shared = rng, shared  # shared: the part of a seed's variance that two trees have in common
        self.seeds: list[float] = []
        self.measurements = 0

    def new_seeds(self, count: int) -> list[int]:
        self.seeds += list(self.rng.normal(0.0, SEED_SD * sqrt(self.shared), count))
        return list(range(len(self.seeds) - count, len(self.seeds)))

    def measure(self, level: float, seed: int) -> float:
        self.measurements += 1
        return level + self.seeds[seed] + float(self.rng.normal(0.0, SEED_SD * sqrt(1.0 - self.shared)))


def mixed(rng: np.random.Generator, trials: int = TRIALS) -> np.ndarray:
    """Draw true effects in bpb: 40 % nothing, 40 % worse by 0.003 on average, 20 % better by 0.001 on average."""
    kind = rng.random(trials)
    better, worse = -rng.exponential(0.001, trials), rng.exponential(0.003, trials)
    return np.where(kind < 0.4, 0.0, np.where(kind < 0.8, worse, better))


def simulate_run(
    rule: Rule, effects: np.ndarray, rng: np.random.Generator, shared: float, prior: float = 1.0
) -> SimulatedRun:
    """Simulate one run under `rule`, with the decisions of experiments/judge/rule.py itself."""
    world, level = World(rng, shared), 0.0
    incumbent = {seed: world.measure(level, seed) for seed in world.new_seeds(rule.seeds)}
    noise = Noise.expected(prior * SEED_SD * sqrt(2.0)).with_replicates(list(incumbent.values()))
    recorded = baseline = fmean(incumbent.values())
    kept, false = 0, 0
    for number, effect in enumerate(effects, start=1):
        seeds = rotate(list(incumbent), number)[: rule.seeds]
        search: dict[int, float] = {}
        fresh: dict[int, float] = {}
        again: dict[int, float] = {}
        while True:
            evidence = Evidence(
                [value - incumbent[seed] for seed, value in search.items()],
                [value - again[seed] for seed, value in fresh.items()],
            )
            step = rule.step(evidence, noise, 0.0, len(search) < len(seeds))
            if step is Step.SEARCH:
                search[seeds[len(search)]] = world.measure(level + effect, seeds[len(search)])
            elif step is Step.FRESH:
                (seed,) = world.new_seeds(1)
                fresh[seed], again[seed] = world.measure(level + effect, seed), world.measure(level, seed)
            else:
                break
        if step is Step.KEPT:
            kept, false, level = kept + 1, false + (effect >= 0.0), level + effect
            incumbent = fresh or search
            recorded = fmean(incumbent.values())
            noise = noise.with_replicates(list(again.values())).with_replicates(list(fresh.values()))
        elif step is Step.REVERTED:
            incumbent = again
            noise = noise.with_replicates(list(again.values()))
    available = -float(effects[effects < 0].sum())
    return SimulatedRun(kept, false, -level, baseline - recorded, available, world.measurements)


def simulate(rule: Rule, seed: int, shared: float, null: bool, trials: int, prior: float) -> SimulatedRun:
    """Simulate one run of drawn effects, or of effects that are all zero."""
    rng = np.random.default_rng(seed)
    return simulate_run(rule, np.zeros(trials) if null else mixed(rng, trials), rng, shared, prior)


CONFIRM = Rule(seeds=3, least=3, keep_p=0.05, fresh=3, confirm_p=0.5)
CANDIDATES = {
    "greedy: any lower number": RULES["greedy"],
    "confirm everything: 3 + 3": CONFIRM,
    "confirm everything: 3, no fresh seeds": replace(CONFIRM, fresh=0),
    "**in use: 1 to 3, fresh 2, p 0.1, 0.2**": RULES["caddie"],
    "no gray zone: 1, fresh 2": replace(RULES["caddie"], seeds=1),
    "no fresh seeds": replace(RULES["caddie"], fresh=0),
    "fresh seeds need only not be worse": replace(RULES["caddie"], confirm_p=0.5),
    "p 0.05": replace(RULES["caddie"], keep_p=0.05),
    "p 0.2": replace(RULES["caddie"], keep_p=0.2),
    "fresh 3": replace(RULES["caddie"], fresh=3),
    "1 to 4, fresh 4": replace(RULES["caddie"], seeds=4, fresh=4),
}


def main(nights: int = 500, shared: float = 0.0, null: bool = False, trials: int = TRIALS, prior: float = 1.0) -> None:
    """Print a table of rules; `--shared` is the part of a seed's variance that both sides have in common.

    `--nights` is the number of simulated runs of `--trials` trials each.
    `--prior` is the noise that a tier expects before the first measurement, as a multiple of the true noise.
    """
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    with ProcessPoolExecutor() as pool:
        for name, rule in CANDIDATES.items():
            jobs = (repeat(rule), range(nights), repeat(shared), repeat(null), repeat(trials), repeat(prior))
            results = list(pool.map(simulate, *jobs, chunksize=20))
            print(f"| {name} | {' | '.join(cells(results))} |", flush=True)
            if null and rule is RULES["caddie"]:
                rate = sum(result.kept for result in results) / (trials * nights)
                low, high = binom.interval(0.99, 42, rate)
                print(f"\nin use: nominal rate {rate:.4f} a null trial; of 42, 99 %: {low:.0f} to {high:.0f}\n")


def cells(results: list[SimulatedRun]) -> Iterator[str]:
    """Yield the cells of one rule's row: means over runs, and the bias with its standard error."""
    names = ("measurements", "kept", "false", "gain", "available")
    measurements, kept, false, gain, available = (fmean(getattr(result, name) for result in results) for name in names)
    bias = np.array([result.reported - result.gain for result in results])
    error = bias.std(ddof=1) / sqrt(len(results))
    yield from (f"{measurements:.0f}", f"{kept:.1f}", f"{false:.2f}", f"{false / kept:.0%}" if kept else "-")
    yield from (f"{1000 * gain:.2f}", f"{gain / available:.0%}" if available else "-")
    yield from (f"{1000 * bias.mean():+.2f} ± {1000 * error:.2f}", f"{100_000 * gain / measurements:.2f}")


if __name__ == "__main__":
    typer.run(main)

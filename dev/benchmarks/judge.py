"""Which rule to judge by: many simulated nights under each.

.venv/bin/python -m dev.benchmarks.judge --nights 500
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

from experiments.comparison import rotated
from experiments.judge import RULES, Evidence, Noise, Rule, Step

SEED_SD = 0.0007  # bpb, of official records
TRIALS = 100
COLUMNS = (
    *("rule", "runs", "kept", "false keeps", "share false", "true gain, mbpb", "of what there was"),
    *("reported - true, mbpb", "gain per 100 runs"),
)


@dataclass(frozen=True)
class Night:
    """What came of one night; gains in bpb, positive = better."""

    kept: int
    false: int  # kept although the true effect is no gain
    gain: float
    reported: float  # baseline's recorded value minus the last incumbent's
    available: float
    runs: int


class World:
    """Scores as they would be measured: a level, what a seed does to every tree, and what it does to this one."""

    def __init__(self, rng: np.random.Generator, shared: float) -> None:
        self.rng, self.shared = rng, shared  # share of a seed's variance that two trees have in common
        self.seeds: list[float] = []
        self.runs = 0

    def new_seeds(self, count: int) -> list[int]:
        self.seeds += list(self.rng.normal(0.0, SEED_SD * sqrt(self.shared), count))
        return list(range(len(self.seeds) - count, len(self.seeds)))

    def measure(self, level: float, seed: int) -> float:
        self.runs += 1
        return level + self.seeds[seed] + float(self.rng.normal(0.0, SEED_SD * sqrt(1.0 - self.shared)))


def mixed(rng: np.random.Generator, trials: int = TRIALS) -> np.ndarray:
    """True effects in bpb: 40 % nothing, 40 % worse by 0.003 on average, 20 % better by 0.001 on average."""
    kind = rng.random(trials)
    better, worse = -rng.exponential(0.001, trials), rng.exponential(0.003, trials)
    return np.where(kind < 0.4, 0.0, np.where(kind < 0.8, worse, better))


def night(rule: Rule, effects: np.ndarray, rng: np.random.Generator, shared: float, prior: float = 1.0) -> Night:
    """One night under `rule`, decided by experiments/judge.py itself."""
    world, level = World(rng, shared), 0.0
    theirs = {seed: world.measure(level, seed) for seed in world.new_seeds(rule.seeds)}
    noise = Noise.expected(prior * SEED_SD * sqrt(2.0)).with_replicates(list(theirs.values()))
    recorded = baseline = fmean(theirs.values())
    kept, false = 0, 0
    for number, effect in enumerate(effects, start=1):
        seeds = rotated(list(theirs), number)[: rule.seeds]
        search: dict[int, float] = {}
        fresh: dict[int, float] = {}
        again: dict[int, float] = {}
        while True:
            evidence = Evidence(
                [value - theirs[seed] for seed, value in search.items()],
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
            theirs = fresh or search
            recorded = fmean(theirs.values())
            noise = noise.with_replicates(list(again.values())).with_replicates(list(fresh.values()))
        elif step is Step.REVERTED:
            theirs = again
            noise = noise.with_replicates(list(again.values()))
    available = -float(effects[effects < 0].sum())
    return Night(kept, false, -level, baseline - recorded, available, world.runs)


def simulated(rule: Rule, seed: int, shared: float, null: bool, trials: int, prior: float) -> Night:
    rng = np.random.default_rng(seed)
    return night(rule, np.zeros(trials) if null else mixed(rng, trials), rng, shared, prior)


CANDIDATES = {
    "greedy: any lower number": RULES["greedy"],
    "confirm everything: 3 + 3": RULES["confirm"],
    "confirm everything: 3, no fresh seeds": replace(RULES["confirm"], fresh=0),
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
    """A table of rules; `--shared` is the part of a seed's variance that both sides have in common.

    `--prior` is how many times the true noise a tier expects before anything is measured.
    """
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    with ProcessPoolExecutor() as pool:
        for name, rule in CANDIDATES.items():
            jobs = (repeat(rule), range(nights), repeat(shared), repeat(null), repeat(trials), repeat(prior))
            found = list(pool.map(simulated, *jobs, chunksize=20))
            print(f"| {name} | {' | '.join(cells(found))} |", flush=True)
            if null and rule is RULES["caddie"]:
                rate = sum(one.kept for one in found) / (trials * nights)
                low, high = binom.interval(0.99, 42, rate)
                print(f"\nin use: nominal rate {rate:.4f} a null trial; of 42, 99 %: {low:.0f} to {high:.0f}\n")


def cells(nights: list[Night]) -> Iterator[str]:
    """One rule's row: means over nights, the bias with its standard error."""
    names = ("runs", "kept", "false", "gain", "available")
    runs, kept, false, gain, available = (fmean(getattr(one, name) for one in nights) for name in names)
    bias = np.array([one.reported - one.gain for one in nights])
    error = bias.std(ddof=1) / sqrt(len(nights))
    yield from (f"{runs:.0f}", f"{kept:.1f}", f"{false:.2f}", f"{false / kept:.0%}" if kept else "-")
    yield from (f"{1000 * gain:.2f}", f"{gain / available:.0%}" if available else "-")
    yield from (f"{1000 * bias.mean():+.2f} ± {1000 * error:.2f}", f"{100_000 * gain / runs:.2f}")


if __name__ == "__main__":
    typer.run(main)

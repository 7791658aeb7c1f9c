"""Simulate how many ideas a run keeps with turns by keep rate and with a bandit: the table of proposer.md.

    .venv/bin/python -m dev.benchmarks.simulations.allocation

Each run draws a keep rate for every class of ideas (Beta(0.7, 7): most near zero, a few worthwhile), and a class
runs dry: every kept idea makes the next one less likely. All rules see the same runs.
"""

import random
from collections.abc import Callable
from math import sqrt
from statistics import fmean, stdev

import typer

from common.state import State
from proposers.allocation import CLASSES, STREAK, allocate

History = list[tuple[str, bool]]
Rule = Callable[[History, random.Random], str]
DRY = 0.8  # share of a class's keep rate that remains after each keep


def even(history: History, _: random.Random) -> str:
    """Cycle through the classes, with a streak in each."""
    return CLASSES[len(history) // STREAK % len(CLASSES)]


def turns(history: History, _: random.Random, streak: int = STREAK) -> str:
    """Allocate turns by keep rate, the rule in use."""
    ends = [(name, State.KEPT if kept else State.DISCARDED) for name, kept in history]
    return allocate(CLASSES, ends, streak).name


def turns_of_one(history: History, rng: random.Random) -> str:
    return turns(history, rng, 1)


def thompson(history: History, rng: random.Random, streak: int = STREAK) -> str:
    """Choose by Thompson sampling with the same prior and the same streaks."""
    if len(history) % streak:
        return history[-1][0]

    def drawn(name: str) -> float:
        outcomes = [kept for tried, kept in history if tried == name]
        return rng.betavariate(1 + sum(outcomes), 7 + len(outcomes) - sum(outcomes))

    return max(CLASSES, key=drawn)


def thompson_of_one(history: History, rng: random.Random) -> str:
    return thompson(history, rng, 1)


RULES: dict[str, Rule] = {
    "even turns": even,
    "turns by keep rate (in use)": turns,
    "turns by keep rate, one at a time": turns_of_one,
    "Thompson sampling": thompson,
    "Thompson sampling, one at a time": thompson_of_one,
}


def simulate_run(rule: Rule, seed: int, trials: int) -> int:
    """Return the number of keeps in one run."""
    rng = random.Random(seed)
    rates = {name: rng.betavariate(0.7, 7.0) for name in CLASSES}
    draws = [rng.random() for _ in range(trials)]
    history: History = []
    for drawn in draws:
        name = rule(history, rng)
        kept = drawn < rates[name]
        rates[name] *= DRY if kept else 1.0
        history.append((name, kept))
    return sum(kept for _, kept in history)


def main(nights: int = 1000) -> None:
    """Print a Markdown table: keeps, and in brackets the difference to the rule in use over the same runs."""
    lengths = (30, 100, 300)
    print("| rule | " + " | ".join(f"keeps in {trials} trials" for trials in lengths) + " |\n|---|---|---|---|")
    used = {trials: [simulate_run(turns, seed, trials) for seed in range(nights)] for trials in lengths}
    for name, rule in RULES.items():
        cells = []
        for trials in lengths:
            keeps = [simulate_run(rule, seed, trials) for seed in range(nights)]
            gains = [ours - theirs for ours, theirs in zip(keeps, used[trials], strict=True)]
            cells.append(f"{fmean(keeps):.2f} ({fmean(gains):+.2f} ± {stdev(gains) / sqrt(nights):.2f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    typer.run(main)

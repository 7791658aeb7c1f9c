"""Turns by keep rate against a bandit: how many ideas a night keeps, simulated; prints the table of proposer.md.

    .venv/bin/python -m dev.benchmarks.choice

Each night draws a keep rate for every class of ideas (Beta(0.7, 7): most near nothing, a few worth it), and a class
runs dry: with every idea it keeps the next one is less likely. All rules see the same nights.
"""

import random
from collections.abc import Callable
from math import sqrt
from statistics import fmean, stdev

import typer

from data.state import State
from proposers.choice import CLASSES, STAY, turn

History = list[tuple[str, bool]]
Rule = Callable[[History, random.Random], str]
DRY = 0.8  # of a class's keep rate is left after each keep


def even(history: History, _: random.Random) -> str:
    return CLASSES[len(history) // STAY % len(CLASSES)]


def turns(history: History, _: random.Random, stay: int = STAY) -> str:
    ends = [(name, State.KEPT if kept else State.DISCARDED) for name, kept in history]
    return turn(CLASSES, ends, stay).name


def turns_of_one(history: History, rng: random.Random) -> str:
    return turns(history, rng, 1)


def thompson(history: History, rng: random.Random, stay: int = STAY) -> str:
    """Thompson sampling with the same prior, a class staying as long as with turns."""
    if len(history) % stay:
        return history[-1][0]

    def drawn(name: str) -> float:
        mine = [kept for one, kept in history if one == name]
        return rng.betavariate(1 + sum(mine), 7 + len(mine) - sum(mine))

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


def night(rule: Rule, seed: int, trials: int) -> int:
    """Keeps of one night."""
    rng = random.Random(seed)
    rates = {name: rng.betavariate(0.7, 7.0) for name in CLASSES}
    luck = [rng.random() for _ in range(trials)]
    history: History = []
    for drawn in luck:
        name = rule(history, rng)
        kept = drawn < rates[name]
        rates[name] *= DRY if kept else 1.0
        history.append((name, kept))
    return sum(kept for _, kept in history)


def main(nights: int = 1000) -> None:
    """Print a Markdown table: keeps, and in brackets the difference to the rule in use over the same nights."""
    lengths = (30, 100, 300)
    print("| rule | " + " | ".join(f"keeps in {trials} trials" for trials in lengths) + " |\n|---|---|---|---|")
    used = {trials: [night(turns, seed, trials) for seed in range(nights)] for trials in lengths}
    for name, rule in RULES.items():
        cells = []
        for trials in lengths:
            keeps = [night(rule, seed, trials) for seed in range(nights)]
            gains = [ours - theirs for ours, theirs in zip(keeps, used[trials], strict=True)]
            cells.append(f"{fmean(keeps):.2f} ({fmean(gains):+.2f} ± {stdev(gains) / sqrt(nights):.2f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    typer.run(main)

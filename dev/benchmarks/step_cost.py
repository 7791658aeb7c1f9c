"""Measure the spread of a step's cost: `python -m dev.benchmarks.step_cost RUN ROUNDS [--set NAME=VALUE …]`.

The baseline of a pocket run is paired with itself, or with itself under other knobs, in the same way as every trial
(preflight/step_cost.py). Reported are the spread of the ratio and of the CPU seconds behind it.
"""

import os
import platform
import tempfile
from datetime import date
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated

import typer

from data.corpus import Corpus
from experiments.tiers import PROFILES
from preflight import step_cost
from preflight.candidate.candidate import Candidate
from preflight.candidate.describe import with_knobs
from preflight.sandbox.isolation.levels import available_levels
from preflight.source import bundle


def main(
    run: str,
    rounds: int,
    setting: Annotated[list[str] | None, typer.Option("--set", help="a knob of the paired program")] = None,
    root: Path = Path(),
) -> None:
    """Print every round, then a Markdown table."""
    profile, values = PROFILES["pocket"], dict(text.split("=", 1) for text in setting or [])
    corpus, program = Corpus.open(root / "shards" / profile.corpus), root / "trials" / run / "0000" / bundle.NAME
    target, level = profile.tier.target, available_levels()[0]
    candidate, baseline = (
        Candidate(program.resolve(), with_knobs(target, knobs, set(values)), level) for knobs in (values, {})
    )
    costs, ratios, shares = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(rounds):
            mine, theirs = step_cost.measure_costs(candidate, baseline, corpus, Path(scratch) / str(number))
            costs.append(theirs)
            ratios.append(mine.step_seconds / theirs.step_seconds)
            shares.append(mine.relative_cost(300, theirs, 300))
            print(f"{number}: {ratios[-1]:.3f} {shares[-1]:.3f} {mine} {theirs}", flush=True)
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores; {rounds} rounds, {values or 'null'}\n")
    print("| quantity | mean | sd | least | most |\n|---|---|---|---|---|")
    for quantity, samples in (
        ("a step's cost over the other's", ratios),
        ("300 steps over the other's", shares),
        ("CPU s of a step, the other's", [cost.step_seconds for cost in costs]),
        ("CPU s of set-up, the other's", [cost.setup_seconds for cost in costs]),
        ("fixed CPU s, the other's", [cost.fixed_seconds for cost in costs]),
    ):
        mean, sd = fmean(samples), stdev(samples)
        print(f"| {quantity} | {mean:.3f} | {sd:.3f} | {min(samples):.3f} | {max(samples):.3f} |")


if __name__ == "__main__":
    typer.run(main)

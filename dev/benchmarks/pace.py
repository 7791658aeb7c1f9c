"""How well a step's cost is known: `python -m dev.benchmarks.pace RUN ROUNDS [--set NAME=VALUE …]`.

The baseline of a pocket run beside itself, or beside itself with other knobs, as every trial is measured
(preflight/pace.py): the spread of the ratio, and of the CPU seconds that it is made of.
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
from experiments.account import with_knobs
from experiments.tiers import PROFILES
from preflight import bundle, pace
from preflight.phases import Candidate
from preflight.sandbox.isolation import available_levels


def main(
    run: str,
    rounds: int,
    setting: Annotated[list[str] | None, typer.Option("--set", help="a knob of the program beside it")] = None,
    root: Path = Path(),
) -> None:
    profile, values = PROFILES["pocket"], dict(one.split("=", 1) for one in setting or [])
    corpus, program = Corpus.open(root / "shards" / profile.corpus), root / "trials" / run / "0000" / bundle.NAME
    target, level = profile.tier.target, available_levels()[0]
    one, other = (Candidate(program.resolve(), with_knobs(target, knobs, set(values)), level) for knobs in (values, {}))
    found, ratios, shares = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(rounds):
            mine, theirs = pace.costs(one, other, corpus, Path(scratch) / str(number))
            found.append(theirs)
            ratios.append(mine.step_seconds / theirs.step_seconds)
            shares.append(mine.share(300, theirs, 300))
            print(f"{number}: {ratios[-1]:.3f} {shares[-1]:.3f} {mine} {theirs}", flush=True)
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores; {rounds} rounds, {values or 'null'}\n")
    print("| what | mean | sd | least | most |\n|---|---|---|---|---|")
    for what, values_found in (
        ("a step's cost beside the other's", ratios),
        ("300 steps beside the other's", shares),
        ("CPU s of a step, the other's", [cost.step_seconds for cost in found]),
        ("CPU s of set-up, the other's", [cost.setup_seconds for cost in found]),
        ("CPU s that come once, the other's", [cost.fixed_seconds for cost in found]),
    ):
        mean, sd = fmean(values_found), stdev(values_found)
        print(f"| {what} | {mean:.3f} | {sd:.3f} | {min(values_found):.3f} | {max(values_found):.3f} |")


if __name__ == "__main__":
    typer.run(main)

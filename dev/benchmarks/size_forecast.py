"""Measure the error of the forecast of bytes: joint draws of `search`, forecast, then trained, packed and weighed.

.venv/bin/python -m dev.benchmarks.size_forecast --draws 12
"""

import os
import platform
import random
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path

import typer

from common.errors import Refused
from common.state import State
from data.corpus import Corpus
from experiments.ledger.rows import COLUMNS, Row
from experiments.tiers import PROFILES
from preflight.candidate.candidate import Candidate, raise_for_outcome
from preflight.candidate.launch import LaunchConfig
from preflight.sandbox.isolation.levels import available_levels
from preflight.sandbox.job import Limits, collect_output
from preflight.sandbox.start import run
from preflight.source import bundle
from preflight.source.tree import Tree, read_folder
from proposers.context import Context
from proposers.search.knobs import declared, edited
from proposers.search.size_forecast import forecast
from proposers.search.tpe import JOINTLY, distribution, rounded, study_of

ROOT = Path(__file__).resolve().parent.parent.parent
LIMITS = Limits(wall_seconds=900, cpu_seconds=900)
STEPS = 100


def main(draws: int = 12) -> None:
    """Print a Markdown table."""
    profile = PROFILES["pocket"]
    target = profile.tier.target
    target = replace(target, environment={**target.environment, "ITERATIONS": str(STEPS)}, cap_bytes=4_000_000)
    profile = replace(profile, tier=replace(profile.tier, target=target))
    base = read_folder(ROOT)
    with tempfile.TemporaryDirectory() as scratch:
        measured = weigh(base, target, Path(scratch) / "base")
        row = Row(**{**dict.fromkeys(COLUMNS), "number": 0, "state": State.BASELINE, "artifact_bytes": measured})  # type: ignore[arg-type]
        context = Context(
            run="run",
            level=available_levels()[0],
            folder=Path(scratch),
            profile=profile,
            program="",
            parent="a" * 40,
            tree=base,
            incumbent=row,
            rows=[row],
            noise=profile.tier.expected_noise,
            seeds=1,
        )
        interval = forecast(context)
        machine = f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores"
        print(f"{machine}; {STEPS} steps; baseline {measured:,} bytes.\n")
        print("| draw | forecast | measured | measured / forecast |\n|---|---|---|---|")
        knobs, rng, ratios = declared(base, target.preset), random.Random(7), []
        study = study_of(knobs, [], 7, informed=False, joint=True)
        for number in range(draws):
            chosen = rng.sample(knobs, JOINTLY)
            drawn = study.ask({knob.name: distribution(knob) for knob in chosen}).params
            values = {knob: rounded(knob, drawn[knob.name]) for knob in chosen}
            tree = edited(base, values)
            sizes = [f"{knob.name} {value}" for knob, value in values.items() if knob.range.joint]
            label = ", ".join(sizes) or "no size"
            try:
                low, high = interval(tree)
                actual = weigh(tree, target, Path(scratch) / str(number))
            except Refused as refusal:
                print(f"| {label} | {refusal} | | |", flush=True)
                continue
            ratios.append(actual / (low * high) ** 0.5)
            print(f"| {label} | {(low * high) ** 0.5:,.0f} | {actual:,} | {ratios[-1]:.3f} |", flush=True)
    print(f"\nmeasured / forecast: {min(ratios):.3f} to {max(ratios):.3f}")


def weigh(tree: Tree, target: LaunchConfig, folder: Path) -> int:
    """Return the bytes of code and model after a short training."""
    folder.mkdir()
    program = folder / bundle.NAME
    program.write_bytes(bundle.build(tree))
    candidate, corpus = Candidate(program, target, available_levels()[0]), Corpus.open(ROOT / "shards" / "pocket")
    job = candidate.train(folder / "train", LIMITS, corpus, corpus.folder / "train", 1)
    raise_for_outcome(job, run(job), "train")
    collect_output(job.out, "weights.bin", candidate.weights_bytes, folder / "weights.bin")
    job = candidate.pack(folder / "pack", LIMITS, folder / "weights.bin")
    raise_for_outcome(job, run(job), "pack")
    collect_output(job.out, "artifact.bin", target.cap_bytes, folder / "artifact.bin")
    return program.stat().st_size + (folder / "artifact.bin").stat().st_size


if __name__ == "__main__":
    typer.run(main)

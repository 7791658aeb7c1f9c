"""How good is the forecast of bytes? Joint draws of `search`: forecast first, then trained, packed and weighed.

.venv/bin/python -m dev.benchmarks.forecast --draws 12
"""

import os
import platform
import random
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path

import typer

from data.corpus import Corpus
from data.errors import Refused
from data.state import State
from experiments.ledger import COLUMNS, Row
from experiments.tiers import PROFILES
from preflight import bundle
from preflight.phases import Candidate, require
from preflight.sandbox import Limits, run, take
from preflight.sandbox.isolation import available_levels
from preflight.tree import Tree, read_folder
from proposers.context import Context
from proposers.forecast import forecast
from proposers.knobs import declared, edited
from proposers.search import JOINTLY, distribution, rounded, study_of

ROOT = Path(__file__).resolve().parent.parent.parent
LIMITS = Limits(wall_seconds=900, cpu_seconds=900)
STEPS = 100


def main(draws: int = 12) -> None:
    """Print a Markdown table."""
    target = PROFILES["pocket"].tier.target
    target = replace(target, environment={**target.environment, "ITERATIONS": str(STEPS)}, cap_bytes=4_000_000)
    base = read_folder(ROOT)
    with tempfile.TemporaryDirectory() as scratch:
        measured = weigh(base, target, Path(scratch) / "base")
        row = Row(**{**dict.fromkeys(COLUMNS), "number": 0, "state": State.BASELINE, "artifact_bytes": measured})  # type: ignore[arg-type]
        context = Context("bench", available_levels()[0], Path(scratch), target, "", "a" * 40, base, row, [row])
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
            told = ", ".join(f"{knob.name} {value}" for knob, value in values.items() if knob.range.joint) or "no size"
            try:
                low, high = interval(tree)
                found = weigh(tree, target, Path(scratch) / str(number))
            except Refused as refusal:
                print(f"| {told} | {refusal} | | |", flush=True)
                continue
            ratios.append(found / (low * high) ** 0.5)
            print(f"| {told} | {(low * high) ** 0.5:,.0f} | {found:,} | {ratios[-1]:.3f} |", flush=True)
    print(f"\nmeasured / forecast: {min(ratios):.3f} to {max(ratios):.3f}")


def weigh(tree: Tree, target, folder: Path) -> int:
    """Bytes of code and model after a short training."""
    folder.mkdir()
    program = folder / bundle.NAME
    program.write_bytes(bundle.build(tree))
    candidate, corpus = Candidate(program, target, available_levels()[0]), Corpus.open(ROOT / "shards" / "pocket")
    job = candidate.train(folder / "train", LIMITS, corpus, corpus.folder / "train", 1)
    require(job, run(job), "train")
    take(job.out, "weights.bin", candidate.weights_bytes, folder / "weights.bin")
    job = candidate.pack(folder / "pack", LIMITS, folder / "weights.bin")
    require(job, run(job), "pack")
    take(job.out, "artifact.bin", target.cap_bytes, folder / "artifact.bin")
    return program.stat().st_size + (folder / "artifact.bin").stat().st_size


if __name__ == "__main__":
    typer.run(main)

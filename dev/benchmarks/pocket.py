"""Break down the seconds of a pocket trial: the stages of a finished run, next to the same bundle run by hand.

.venv/bin/python -m dev.benchmarks.pocket --run ten
"""

import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import typer

from common.state import State
from experiments.run.layout import open_ledger
from experiments.tiers import PROFILES
from preflight.candidate.candidate import interpreter
from preflight.source import bundle


def main(run: str = "ten", root: Path = Path()) -> None:
    """Print a Markdown table of medians over the trials that were decided by a single measurement."""
    ledger = open_ledger(root, run)
    rows = [
        row for row in ledger.rows() if row.state is State.DISCARDED and len(ledger.measurement_rows(row.number)) == 1
    ]
    table: dict[str, list[float]] = {}
    for row in rows:
        stages = ledger.stages(row.number)
        (measured,) = ledger.measurements(row.number)
        measured_parts = {
            "train: start, build, warm up": measured.train_setup_seconds,
            "**train**": measured.train_wall_seconds,
            "pack": measured.pack_wall_seconds,
            "score: start, load": measured.load_wall_seconds,
            "**score: first pass**": measured.score_wall_seconds,
            "**score: audit (a second process)**": measured.proof_wall_seconds,
        }
        parts = {
            "propose (generate_next.py)": stages.get("propose", 0.0),
            "tree (git)": stages["tree"],
            "preflight: describe": stages["preflight: describe"],
            "preflight: smoke": stages["preflight: smoke"],
            "preflight: the rest": stages["preflight"] - stages["preflight: describe"] - stages["preflight: smoke"],
            **measured_parts,
            "measure: the rest (CPU calibration, copies)": stages["measure"] - sum(measured_parts.values()),
            "settle (commit, ledger)": stages["settle"],
        }
        parts["**not training or scoring**"] = sum(value for name, value in parts.items() if not name.startswith("**"))
        parts["whole trial"] = sum(value for name, value in parts.items() if not name.startswith("**not"))
        for name, value in parts.items():
            table.setdefault(name, []).append(value)

    command = shlex.split(
        by_hand(run, "pocket", 0, ledger.measurements(0)[0].seed).replace(".venv/bin/python", sys.executable)
    )
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, env={"PATH": os.defpath}, cwd=root)
    hand = time.monotonic() - started

    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; ", end="")
    print(f"run `{run}`, {len(rows)} measured trials.\n")
    print("| stage | median s | most s | over by hand |\n|---|---|---|---|")
    for name, values in table.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.2f} | {max(values):.2f} | {median / hand:.2f} |")
    print(f"| the baseline's bundle by hand (train, pack, score once, no audit) | {hand:.2f} | | 1.00 |")


def by_hand(run: str, profile: str, number: int, seed: int, train: Path | None = None, steps: int | None = None) -> str:
    """Return the shell command that trains, packs and scores a bundle without the harness: only for your own base/.

    To repeat the score of a measurement, `train` must hold the shards in its order (experiments/runner/seeds.py), and
    `steps` must be the number of steps that its trial was granted.
    """
    tier = PROFILES[profile].tier.with_steps(steps)
    shards = Path("shards") / PROFILES[profile].corpus
    environment = {
        **tier.target.environment,
        "PRESET": tier.target.preset,
        "SEED": str(seed),
        "DATA_PATH": str(train or shards / "train"),
        "VAL_PATH": str(shards / tier.split),
        "TOKENIZER_PATH": str(shards / "tokenizer.model"),
    }
    assignments = " ".join(f"{key}={shlex.quote(value)}" for key, value in environment.items())
    program = " ".join((".venv/bin/python", *interpreter(tier.target.ranks)[1:]))
    return f"env {assignments} {program} trials/{run}/{number:04d}/{bundle.NAME}"


if __name__ == "__main__":
    typer.run(main)

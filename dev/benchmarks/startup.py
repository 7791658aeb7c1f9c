"""Measure the response time of commands on a ledger of 1,000 trials, next to `git log` and `optuna --help`.

    python -m dev.benchmarks.startup [--trials 1000] [--rounds 9]

Prints the table of startup.md: the median and the fastest of several rounds, with every command once a round.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import median

from common.state import State
from experiments.ledger.measurement import Measurement
from experiments.ledger.store import Ledger
from experiments.tiers import PROFILES
from preflight.scoring.honesty import Honesty

ROOT = Path(__file__).resolve().parents[2]
GOAL_SECONDS = 0.4
ENDS = (State.DISCARDED,) * 12 + (State.REVERTED, State.CRASH, State.STATIC, State.DUPLICATE, State.TIMEOUT_TRAIN)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_ledger(Path(folder) / "trials" / "demo" / "ledger.sqlite", options.trials)
        caddie = [sys.executable, "-m", "experiments"]
        commands = {
            "`experiments --help`": [*caddie, "--help"],
            "`experiments status`": [*caddie, "status", "--root", folder],
            "`experiments log`": [*caddie, "log", "--root", folder],
            f"`experiments show {options.trials}`": [*caddie, "show", str(options.trials), "--root", folder],
            "`git log`": ["git", "log"],
            "`optuna --help`": [str(Path(sys.executable).with_name("optuna")), "--help"],
            "`python -c pass`": [sys.executable, "-c", "pass"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                seconds[name].append(seconds_of(command))
    machine = f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(
        f"`python -m dev.benchmarks.startup`, {machine}; a ledger of {options.trials:,} trials; wall-clock seconds.\n"
    )
    print("| command | median | fastest | against `optuna --help` |\n|---|---|---|---|")
    reference = median(seconds["`optuna --help`"])
    for name, values in seconds.items():
        print(f"| {name} | {median(values):.2f} | {min(values):.2f} | {median(values) / reference:.2f} |")


def seconds_of(command: Sequence[str]) -> float:
    """Run the command and return its wall-clock seconds."""
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def write_ledger(path: Path, trials: int) -> None:
    """Write the ledger of a long run: one keep in twenty, every trial measured on one to three seeds."""
    rng, ledger, tier = random.Random(7), Ledger(path), PROFILES["pocket"].tier
    ledger.connection.execute("PRAGMA synchronous = OFF")
    ledger.set_fact("profile", "pocket")
    parent = f"{0:040x}"
    for number in range(trials + 1):
        state = State.BASELINE if number == 0 else State.KEPT if number % 20 == 0 else rng.choice(ENDS)
        text = json.dumps({"title": f"idea {number}", "hypothesis": "because " * 20, "edits": [{"path": "base/a.py"}]})
        identity: dict[str, str] = {
            "title": f"idea {number}",
            "kind": "architecture",
            "hypothesis": "because " * 20,
            "proposal": text,
        }
        identity |= {"profile": "pocket", "tier": tier.name, "sandbox_level": "namespace", "parent": parent}
        ledger.begin(at_least=0, trials_can_read_text=True, **identity)
        for seed in range(rng.randint(1, 3)):
            ledger.add_measurement(number, tier.name, tier.split, measurement(seed, rng.gauss(1.93, 0.01)))
        commit = f"{number + 1:040x}"
        ledger.add_stage(number, "measure", 40.0)
        ledger.settle(number, state, val_bpb=rng.gauss(1.93, 0.01), delta_bpb=0.001, commit_id=commit, detail="p 0.4")
        parent = commit if state in (State.KEPT, State.BASELINE) else parent
    ledger.close()


def measurement(seed: int, val_bpb: float) -> Measurement:
    honesty = Honesty(512, 100_000, 0.0, 1e-6, 1e-4, 0.01, 0.1)
    return Measurement(seed, val_bpb, val_bpb, 30_000, 190_000, "0" * 64, *[1.0] * 12, honesty, 0.002, 0.05)  # type: ignore[arg-type, call-arg]


if __name__ == "__main__":
    main()

"""Measure the response time of commands on a ledger of 1,000 trials, next to `git log` and `optuna --help`.

    python -m dev.benchmarks.long_run.startup [--trials 1000] [--rounds 9]

Prints the table of startup.md: the median and the fastest of several rounds, with every command once a round.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

from dev.benchmarks.long_run.ledger import write_ledger
from dev.benchmarks.long_run.timing import machine, seconds_of

GOAL_SECONDS = 0.4


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
    program = "`python -m dev.benchmarks.long_run.startup`"
    print(f"{program}, {machine()}; a ledger of {options.trials:,} trials; wall-clock seconds.\n")
    print("| command | median | fastest | against `optuna --help` |\n|---|---|---|---|")
    reference = median(seconds["`optuna --help`"])
    for name, values in seconds.items():
        print(f"| {name} | {median(values):.2f} | {min(values):.2f} | {median(values) / reference:.2f} |")


if __name__ == "__main__":
    main()

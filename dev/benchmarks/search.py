"""Does `search` beat random draws from the same ranges? Runs of the real loop, in pairs, from one baseline and seed.

.venv/bin/python -m dev.benchmarks.search --trials 30 --repetitions 3 --folder /tmp/search

A trial here is a pocket trial of 150 instead of 300 steps and 32 proof places, so that a pair fits into 20 minutes:
the two runs of a pair go side by side on two cores. Everything else is the loop as a person runs it.
"""

import os
import platform
import statistics
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from data.state import State
from experiments import loop
from experiments.judge import RULES
from experiments.ledger import Ledger
from experiments.tiers import PROFILES

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = 150
PROPOSERS = ("search", "random")


def main(
    trials: int = 30,
    repetitions: int = 3,
    folder: Path = Path("/tmp/search"),
    one: Annotated[str, typer.Option(help="run only PROPOSER:REPETITION; what the program calls itself with")] = "",
) -> None:
    """Run the pairs that are not finished, then print a Markdown table."""
    if one:
        proposer, _, number = one.partition(":")
        run_one(folder, proposer, int(number), trials)
        return
    for number in range(repetitions):
        command = [sys.executable, "-m", "dev.benchmarks.search", "--trials", str(trials), "--folder", str(folder)]
        pair = [subprocess.Popen([*command, "--one", f"{name}:{number}"], cwd=ROOT) for name in PROPOSERS]
        if any([process.wait() for process in pair]):
            raise SystemExit(f"pair {number} did not finish; the same command goes on where it stopped")
    report(folder, trials, repetitions)


def run_one(folder: Path, proposer: str, number: int, trials: int) -> None:
    root = folder / f"{proposer}{number}"
    if not root.exists():
        subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(root)], check=True)
        (root / "shards").symlink_to(ROOT / "shards")
    tier = PROFILES["pocket"].tier
    target = replace(tier.target, environment={**tier.target.environment, "ITERATIONS": str(STEPS)})
    tier = replace(tier, target=target, rule=RULES["greedy"], proof_places=32, smooth_bound_bpb=0.01)
    tier = replace(tier, train_cpu_slack=float("inf"), score_cpu_slack=float("inf"))
    PROFILES["pocket"] = replace(PROFILES["pocket"], tier=tier)
    bench = loop.open_bench(root, f"rep{number}", "pocket", lambda *_: None)
    done = sum(row.finished for row in bench.ledger.rows()) - 1
    loop.run(
        bench,
        proposer,
        trials - max(done, 0),
        24.0,
        lambda row: print(proposer, number, row.number, row.state, row.val_bpb, flush=True),
    )
    bench.close()


def report(folder: Path, trials: int, repetitions: int) -> None:
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; ", end="")
    print(f"{trials} trials of {STEPS} steps; lower is better.\n")
    print("| pair | baseline | proposer | best of 10 | of 20 | of 30 | kept | median trial | without a score |")
    print("|---|---|---|---|---|---|---|---|---|")
    gaps = []
    for number in range(repetitions):
        best = {}
        for proposer in PROPOSERS:
            rows = Ledger(folder / f"{proposer}{number}" / "trials" / f"rep{number}" / "ledger.sqlite").rows()
            scores = [row.val_bpb for row in rows if row.val_bpb is not None]
            first, tries = rows[0].val_bpb, rows[1 : trials + 1]
            reached = [min(row.val_bpb or 9.9 for row in rows[: count + 1]) for count in (10, 20, 30)]
            best[proposer] = reached[-1]
            kept = sum(row.state is State.KEPT for row in tries)
            cells = [f"{first:.4f}", proposer, *(f"{value:.4f}" for value in reached), str(kept)]
            cells += [f"{statistics.median(scores[1:]):.4f}", str(sum(row.val_bpb is None for row in tries))]
            print(f"| {number} | {' | '.join(cells)} |")
        gaps.append(best["search"] - best["random"])
    spread = statistics.stdev(gaps) if len(gaps) > 1 else float("nan")
    print(f"\nsearch minus random after {trials}: {', '.join(f'{gap:+.4f}' for gap in gaps)}; ", end="")
    print(f"mean {statistics.fmean(gaps):+.4f}, sd {spread:.4f} bpb.")


if __name__ == "__main__":
    typer.run(main)

"""Compare `search` with random draws from the same ranges, in pairs of real runs from one baseline and seed.

.venv/bin/python -m dev.benchmarks.search --trials 30 --repetitions 3 --folder /tmp/search

A trial here is a pocket trial of 150 instead of 300 steps and 32 probe positions, so that a pair fits into 20 minutes;
the two runs of a pair go side by side on two cores. Random draws are `search` without its history.
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

from common.state import State
from experiments.judge.rule import RULES
from experiments.ledger.store import Ledger
from experiments.loop.recovery import recover
from experiments.run.run import open_run
from experiments.tiers import PROFILES
from experiments.trial.baseline import cpu_budget, measure_baseline
from experiments.trial.trial import run_trial
from proposers.context import gather
from proposers.reply import next_proposal
from proposers.search.tpe import Search

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = 150
PROPOSERS = ("search", "random")


def main(
    trials: int = 30,
    repetitions: int = 3,
    folder: Path = Path("/tmp/search"),
    pair_member: Annotated[
        str, typer.Option("--one", help="run only PROPOSER:REPETITION; used by the program itself")
    ] = "",
) -> None:
    """Run the pairs that are not finished, then print a Markdown table."""
    if pair_member:
        proposer, _, repetition = pair_member.partition(":")
        run_one(folder, proposer, int(repetition), trials)
        return
    for number in range(repetitions):
        command = [sys.executable, "-m", "dev.benchmarks.search", "--trials", str(trials), "--folder", str(folder)]
        pair = [subprocess.Popen([*command, "--one", f"{name}:{number}"], cwd=ROOT) for name in PROPOSERS]
        if any([process.wait() for process in pair]):
            raise SystemExit(f"pair {number} did not finish; run the same command again to continue it")
    report(folder, trials, repetitions)


def run_one(folder: Path, proposer: str, number: int, trials: int) -> None:
    """Run or continue one run of a pair, in a clone of its own."""
    root = folder / f"{proposer}{number}"
    if not root.exists():
        subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(root)], check=True)
        (root / "shards").symlink_to(ROOT / "shards")
    tier = PROFILES["pocket"].tier
    target = replace(tier.target, environment={**tier.target.environment, "ITERATIONS": str(STEPS)})
    tier = replace(tier, target=target, rule=RULES["greedy"], audit_positions=32, systematic_bound_bpb=0.01)
    tier = replace(tier, train_cpu_slack=float("inf"), score_cpu_slack=float("inf"))
    PROFILES["pocket"] = replace(PROFILES["pocket"], tier=tier)
    run = open_run(root, f"rep{number}", "pocket", lambda *_: None)
    recover(run)
    limits = cpu_budget(run, measure_baseline(run))
    draw = Search(informed=proposer == "search")
    while len(run.ledger.rows()) <= trials:
        context = gather(root, run.name)
        row = run_trial(run, next_proposal(draw, context), limits)
        print(proposer, number, row.number, row.state, row.val_bpb, flush=True)
    run.close()


def report(folder: Path, trials: int, repetitions: int) -> None:
    """Print the finished pairs as a Markdown table."""
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

"""Measure what extra compute buys: each way to take it, as a whole trial of `pocket`.

.venv/bin/python -m dev.benchmarks.budgets CLONE --name budgets

A kept edit becomes the incumbent of the trials after it, as in any run. The cap is raised so that a wider model is not
refused for its bytes: the question here is how much compute it may use.
"""

from dataclasses import replace
from pathlib import Path

import typer

from dev.benchmarks.simulations.known_truth import proposal
from experiments.ledger import usage
from experiments.run.run import open_run
from experiments.trial.baseline import cpu_budget, measure_baseline
from experiments.trial.trial import run_trial

CAP_BYTES = 1_000_000
FORWARD = "        return positions.flatten(), scored.flatten(0, 1)\n"
COMPUTE_EDITS = {
    "twice the steps": (
        "base/train.py",
        "for step in range(config.run.iterations):",
        "for step in range(2 * config.run.iterations):",
    ),
    "twice the batch": (
        "base/train.py",
        "        self.config, self.runtime = config, runtime\n        self.model",
        "        from dataclasses import replace\n\n"
        "        config = replace(config, data=replace(config.data, batch_tokens=2 * config.data.batch_tokens))\n"
        "        self.config, self.runtime = config, runtime\n        self.model",
    ),
    "twice the width": ("base/presets.py", "model_dim=64", "model_dim=128"),
    "half the stride": ("base/presets.py", "eval_length=128, eval_stride=64", "eval_length=128, eval_stride=32"),
    "more evaluation work": (
        "base/evaluate/window.py",
        FORWARD,
        "        index = offsets[..., None].expand(-1, -1, hidden.size(-1))\n"
        "        again = self.hidden(tokens.flip(0)).flip(0).gather(1, index)\n"
        "        return positions.flatten(), ((scored + again) / 2).flatten(0, 1)\n",
    ),
    "four layers": ("base/presets.py", "num_layers=3, model_dim=", "num_layers=4, model_dim="),
    "PoPE": (
        "base/presets.py",
        "        eval=Eval(eval_length=128,",
        "        attention=Attention(polar_positions=True),\n        eval=Eval(eval_length=128,",
    ),
}


def main(folder: Path, name: str = "budgets") -> None:
    """Run every edit as a trial, then print a Markdown table."""
    run = open_run(folder, name, "pocket", lambda number, title, stage: print(number, stage, title, flush=True))
    target = replace(run.tier.target, cap_bytes=CAP_BYTES)
    run = replace(run, tier=replace(run.tier, target=target))
    start = measure_baseline(run)
    limits = cpu_budget(run, start)
    rows = [
        run_trial(run, proposal(run.workspace.best(), edit, title), limits) for title, edit in COMPUTE_EDITS.items()
    ]
    print(f"The baseline: {start.val_bpb:.4f} bpb in {run.tier.steps} steps.\n")
    print("| trial | verdict | bpb | delta | steps | a step's cost | used, at most |\n|---|---|---|---|---|---|---|")
    for row in rows:
        value, delta = f"{row.val_bpb or 0:.4f}", f"{row.delta_bpb or 0:+.4f}"
        used = "; ".join(line for line in usage.describe(row) if line.startswith(("train", "score")))
        print(f"| {row.title} | {row.state} | {value} | {delta} | {row.steps} | {row.step_cost or 0:.2f} | {used} |")


if __name__ == "__main__":
    typer.run(main)

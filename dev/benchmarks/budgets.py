"""What more compute buys: every way to take it, each as a whole trial of `pocket`.

.venv/bin/python -m dev.benchmarks.budgets CLONE --name budgets

Whatever is kept is what the next ones are held against, as in any night. The cap is raised, so that a wider model is
not refused for its bytes: what compute it may use is the question here.
"""

from dataclasses import replace
from pathlib import Path

import typer

from dev.benchmarks.nights import proposal
from experiments import budgets
from experiments.baseline import baseline, budget
from experiments.loop import open_bench
from experiments.trial import run_trial

CAP_BYTES = 1_000_000
FORWARD = "        return self.model.logits(wanted).log_softmax(dim=-1)\n"
BOUGHT = {
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
    "half the stride": ("base/presets.py", "eval_stride=64", "eval_stride=32"),
    "more evaluation work": (
        "base/evaluate/sliding.py",
        FORWARD,
        "        index = places[..., None].expand(-1, -1, hidden.size(-1))\n"
        "        again = self.hidden(tokens.flip(0)).flip(0).gather(1, index)\n"
        "        return self.model.logits((wanted + again) / 2).log_softmax(dim=-1)\n",
    ),
    "four layers": ("base/presets.py", "num_layers=3, model_dim=", "num_layers=4, model_dim="),
    "PoPE": (
        "base/presets.py",
        "        eval=Eval(eval_length=128,",
        "        attention=Attention(polar_positions=True),\n        eval=Eval(eval_length=128,",
    ),
}


def main(folder: Path, name: str = "budgets") -> None:
    bench = open_bench(folder, name, "pocket", lambda number, title, stage: print(number, stage, title, flush=True))
    target = replace(bench.tier.target, cap_bytes=CAP_BYTES)
    bench = replace(bench, tier=replace(bench.tier, target=target))
    start = baseline(bench)
    limits = budget(bench, start)
    rows = [run_trial(bench, proposal(bench.workspace.best(), edit, title), limits) for title, edit in BOUGHT.items()]
    print(f"The baseline: {start.val_bpb:.4f} bpb in {bench.tier.steps} steps.\n")
    print("| trial | verdict | bpb | delta | steps | a step's cost | used, at most |\n|---|---|---|---|---|---|---|")
    for row in rows:
        value, delta = f"{row.val_bpb or 0:.4f}", f"{row.delta_bpb or 0:+.4f}"
        used = "; ".join(one for one in budgets.told(row) if one.startswith(("train", "score")))
        print(f"| {row.title} | {row.state} | {value} | {delta} | {row.steps} | {row.step_cost or 0:.2f} | {used} |")


if __name__ == "__main__":
    typer.run(main)

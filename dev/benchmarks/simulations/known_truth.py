"""Real runs with known ground truth: edits without an effect, through the whole loop.

.venv/bin/python -m dev.benchmarks.simulations.known_truth null FOLDER --name a --first 0 --count 21
.venv/bin/python -m dev.benchmarks.simulations.known_truth table FOLDER/…/ledger.sqlite …
"""

import json
import re
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import typer
from scipy.stats import t

from common.state import State
from experiments.analysis.pairing import differences, noise_floor
from experiments.ledger.store import Ledger
from experiments.loop.recovery import recover
from experiments.run.machine import profile_of
from experiments.run.run import open_run
from experiments.trial.baseline import cpu_budget, measure_baseline
from experiments.trial.trial import run_trial
from preflight.source.tree import Tree

Edit = Callable[[Tree, int], tuple[str, str, str]]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def unused_draw(tree: Tree, k: int) -> tuple[str, str, str]:
    """Draw k unused numbers from every generator, so that weights and data order change."""
    path, text = "base/runtime.py", tree["base/runtime.py"].content.decode()
    match = re.search(r"    return torch\.Generator\(\)\.manual_seed\((.*)\)\n", text)
    if match:
        drawn = f"    drawn = torch.Generator().manual_seed({match[1]})\n"
        return path, match[0], f"{drawn}    torch.rand({k}, generator=drawn)\n    return drawn\n"
    match = re.search(r"torch\.rand\(\d+, generator=drawn\)", text)
    assert match is not None
    return path, match[0], f"torch.rand({k}, generator=drawn)"


def other_weights(tree: Tree, k: int) -> tuple[str, str, str]:
    """Draw every tensor under another name, as if it had been created elsewhere; the data order stays."""
    return replace_pattern(
        tree, "base/model/layers.py", r'generator\(seed, (name|f"\{name\}/\d+")\)', f'generator(seed, f"{{name}}/{k}")'
    )


def other_order(tree: Tree, k: int) -> tuple[str, str, str]:
    """Change the order of the data; the weights start as before."""
    return replace_pattern(
        tree,
        "base/tokens/loader.py",
        r'generator\(config\.run\.seed, "data[/\d]*"\)',
        f'generator(config.run.seed, "data/{k}")',
    )


def replace_pattern(tree: Tree, path: str, pattern: str, replacement: str) -> tuple[str, str, str]:
    match = re.search(pattern, tree[path].content.decode())
    assert match is not None
    return path, match[0], replacement


NULL_EDITS: tuple[Edit, ...] = (unused_draw, other_weights, other_order)


def proposal(parent: str, edit: tuple[str, str, str], title: str) -> str:
    """Return the JSON of a proposal with one edit: path, search and replace."""
    path, search, replace = edit
    fields = {"title": title, "hypothesis": "none", "class": "simplify", "parent": parent, "expected_delta_bpb": 0.0}
    return json.dumps(fields | {"edits": [{"path": path, "search": search, "replace": replace}]})


@app.command()
def null(folder: Path, name: str = "null", first: int = 0, count: int = 21, profile: str = "pocket") -> None:
    """Run trials of edits that only redraw the noise, in a clone of this repository with its corpus."""
    run = open_run(folder, name, profile, lambda number, title, stage: print(number, stage, title, flush=True))
    recover(run)
    start = measure_baseline(run)
    done = len(run.ledger.rows()) - 1
    for k in range(first + done, first + count):
        kind = NULL_EDITS[k % len(NULL_EDITS)]
        parent = run.workspace.best()
        edit = kind(run.workspace.read(parent), k + 1)
        row = run_trial(run, proposal(parent, edit, f"{kind.__name__} {k + 1}"), cpu_budget(run, start))
        print(row.number, row.state, row.val_bpb, row.delta_bpb, row.detail, flush=True)
    run.close()


@app.command()
def table(ledgers: list[Path]) -> None:
    """Summarize finished null runs, next to greedy acceptance of the same trials."""
    trials: list[tuple[float, list[float], State]] = []  # reported gain, search differences, final state
    provisional: list[float] = []  # gains on fresh seeds, kept or not
    greedy_kept, greedy_gain, measurements, unjudged = 0, 0.0, 0, 0
    for path in ledgers:
        ledger = Ledger(path)
        rows, tier = ledger.rows(), profile_of(ledger).tier
        measurements += sum(len(ledger.measurement_rows(row.number)) for row in rows)
        first = best = ledger.measurement_rows(0)[0].measured.val_bpb
        for row in rows[1:]:
            if not row.state.judged:
                unjudged += 1
                continue
            gain = -(row.delta_bpb or 0.0) if row.state is State.KEPT else 0.0
            provisional += [-(row.delta_bpb or 0.0)] if row.state is not State.DISCARDED else []
            trials.append((gain, differences(ledger, row, tier.name, fresh=False), row.state))
            value = ledger.measurement_rows(row.number)[0].measured.val_bpb
            greedy_kept, best = greedy_kept + (value < best), min(value, best)
        greedy_gain += first - best
        replicates = [row.measured.val_bpb for row in ledger.measurement_rows(0)]
        baseline = ", ".join(f"{value:.4f}" for value in replicates)
        noise_sd = noise_floor(ledger, tier).difference_sd
        print(f"{path.parent.name}: baseline {baseline}; noise of a pair {noise_sd:.4f} bpb\n")
    gains, states = [gain for gain, _, _ in trials], [state for _, _, state in trials]
    print(f"{len(trials)} null trials judged in {measurements} measurements, {unjudged} ended otherwise.\n")
    print("| rule | kept | reverted | gain reported, bpb | mean a trial | two-sided p |\n|---|---|---|---|---|---|")
    kept, reverted = states.count(State.KEPT), states.count(State.REVERTED)
    print(f"| in use | {kept} | {reverted} | {sum(gains):.4f} | {t_test(gains)} |")
    mean = greedy_gain / len(trials)
    print(f"| greedy, the same trials | {greedy_kept} | - | {greedy_gain:.4f} | {mean:.5f} | - |\n")
    print(f"Gain on fresh seeds of all {len(provisional)} provisional keeps, with two-sided p: {t_test(provisional)}\n")
    print("| first differences | mean | sd |\n|---|---|---|")
    firsts = [search[0] for _, search, _ in trials]
    print(f"| all {len(firsts)} | {fmean(firsts):+.4f} | {stdev(firsts):.4f} |")


def t_test(gains: list[float]) -> str:
    """Return `mean ± error | p` of a t-test against 0."""
    if len(gains) < 2 or not (error := stdev(gains) / sqrt(len(gains))):
        return f"{fmean(gains or [0.0]):.5f} | 1"
    return f"{fmean(gains):.5f} ± {error:.5f} | {2 * float(t.sf(abs(fmean(gains)) / error, len(gains) - 1)):.3f}"


if __name__ == "__main__":
    app()

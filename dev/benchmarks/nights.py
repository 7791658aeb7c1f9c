"""Real nights whose truth is known: edits that do nothing, and edits of a known size, through the whole loop.

.venv/bin/python -m dev.benchmarks.nights null FOLDER --name a --first 0 --count 21
.venv/bin/python -m dev.benchmarks.nights table FOLDER/…/ledger.sqlite …
"""

import json
import re
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import typer
from scipy.stats import t

from data.state import State
from experiments.baseline import baseline, budget
from experiments.ledger import Ledger
from experiments.loop import open_bench, recover
from experiments.replicates import differences, noise_floor
from experiments.tiers import PROFILES
from experiments.trial import run_trial
from preflight.tree import Tree

Edit = Callable[[Tree, int], tuple[str, str, str]]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def unused_draw(tree: Tree, k: int) -> tuple[str, str, str]:
    """Every generator draws k numbers that nobody uses: weights and data order are other ones."""
    path, text = "base/runtime.py", tree["base/runtime.py"].content.decode()
    found = re.search(r"    return torch\.Generator\(\)\.manual_seed\((.*)\)\n", text)
    if found:
        drawn = f"    drawn = torch.Generator().manual_seed({found[1]})\n"
        return path, found[0], f"{drawn}    torch.rand({k}, generator=drawn)\n    return drawn\n"
    found = re.search(r"torch\.rand\(\d+, generator=drawn\)", text)
    assert found is not None
    return path, found[0], f"torch.rand({k}, generator=drawn)"


def other_weights(tree: Tree, k: int) -> tuple[str, str, str]:
    """Every tensor is drawn under another name, as if it had been created elsewhere; the data order stays."""
    return renamed(
        tree, "base/model/layers.py", r'generator\(seed, (name|f"\{name\}/\d+")\)', f'generator(seed, f"{{name}}/{k}")'
    )


def other_order(tree: Tree, k: int) -> tuple[str, str, str]:
    """The data comes in another order; the weights start as before."""
    return renamed(
        tree,
        "base/tokens/loader.py",
        r'generator\(config\.run\.seed, "data[/\d]*"\)',
        f'generator(config.run.seed, "data/{k}")',
    )


def renamed(tree: Tree, path: str, pattern: str, replacement: str) -> tuple[str, str, str]:
    found = re.search(pattern, tree[path].content.decode())
    assert found is not None
    return path, found[0], replacement


NULL_EDITS: tuple[Edit, ...] = (unused_draw, other_weights, other_order)


def proposal(parent: str, edit: tuple[str, str, str], title: str) -> str:
    path, search, replace = edit
    made = {"title": title, "hypothesis": "none", "class": "simplify", "parent": parent, "expected_delta_bpb": 0.0}
    return json.dumps(made | {"edits": [{"path": path, "search": search, "replace": replace}]})


@app.command()
def null(folder: Path, name: str = "null", first: int = 0, count: int = 21, profile: str = "pocket") -> None:
    """A night of edits that do nothing but draw the noise anew, in a clone of this repository with its corpus."""
    bench = open_bench(folder, name, profile, lambda number, title, stage: print(number, stage, title, flush=True))
    recover(bench)
    start = baseline(bench)
    done = len(bench.ledger.rows()) - 1
    for k in range(first + done, first + count):
        kind = NULL_EDITS[k % len(NULL_EDITS)]
        parent = bench.workspace.best()
        edit = kind(bench.workspace.read(parent), k + 1)
        row = run_trial(bench, proposal(parent, edit, f"{kind.__name__} {k + 1}"), budget(bench, start))
        print(row.number, row.state, row.val_bpb, row.delta_bpb, row.detail, flush=True)
    bench.close()


@app.command()
def table(ledgers: list[Path]) -> None:
    """What finished null nights show, beside greedy acceptance of the same trials."""
    trials: list[tuple[float, list[float], State]] = []  # reported gain, search differences, how it ended
    provisional: list[float] = []  # gains on fresh seeds, kept or not
    greedy_kept, greedy_gain, runs, lost = 0, 0.0, 0, 0
    for path in ledgers:
        ledger = Ledger(path)
        rows, tier = ledger.rows(), PROFILES[ledger.fact("profile") or ""].tier
        runs += sum(len(ledger.taken(row.number)) for row in rows)
        first = best = ledger.taken(0)[0].measured.val_bpb
        for row in rows[1:]:
            if not row.state.judged:
                lost += 1
                continue
            gain = -(row.delta_bpb or 0.0) if row.state is State.KEPT else 0.0
            provisional += [-(row.delta_bpb or 0.0)] if row.state is not State.DISCARDED else []
            trials.append((gain, differences(ledger, row, tier.name, fresh=False), row.state))
            value = ledger.taken(row.number)[0].measured.val_bpb
            greedy_kept, best = greedy_kept + (value < best), min(value, best)
        greedy_gain += first - best
        replicates = [one.measured.val_bpb for one in ledger.taken(0)]
        told = f"baseline {', '.join(f'{value:.4f}' for value in replicates)}"
        print(f"{path.parent.name}: {told}; noise of a pair {noise_floor(ledger, tier).difference_sd:.4f} bpb\n")
    gains, states = [gain for gain, _, _ in trials], [state for _, _, state in trials]
    print(f"{len(trials)} null trials measured in {runs} runs, {lost} ended otherwise.\n")
    print("| rule | kept | reverted | gain reported, bpb | mean a trial | two-sided p |\n|---|---|---|---|---|---|")
    kept, reverted = states.count(State.KEPT), states.count(State.REVERTED)
    print(f"| in use | {kept} | {reverted} | {sum(gains):.4f} | {tested(gains)} |")
    mean = greedy_gain / len(trials)
    print(f"| greedy, the same trials | {greedy_kept} | - | {greedy_gain:.4f} | {mean:.5f} | - |\n")
    print(f"Gain on fresh seeds of all {len(provisional)} provisional keeps, with two-sided p: {tested(provisional)}\n")
    print("| first differences | mean | sd |\n|---|---|---|")
    firsts = [search[0] for _, search, _ in trials]
    print(f"| all {len(firsts)} | {fmean(firsts):+.4f} | {stdev(firsts):.4f} |")


def tested(gains: list[float]) -> str:
    """`mean ± error | p` of a t-test against 0."""
    if len(gains) < 2 or not (error := stdev(gains) / sqrt(len(gains))):
        return f"{fmean(gains or [0.0]):.5f} | 1"
    return f"{fmean(gains):.5f} ± {error:.5f} | {2 * float(t.sf(abs(fmean(gains)) / error, len(gains) - 1)):.3f}"


if __name__ == "__main__":
    app()

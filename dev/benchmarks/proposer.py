"""What the LLM proposer costs and what it lets through: 100 trials against the local Messages API, nothing is trained.

    .venv/bin/python -m dev.benchmarks.proposer            # a few minutes; prints the tables of proposer.md

Every second answer cannot be applied, every tenth repeats an earlier one. Trees, commits and ledger are real; outcomes
are drawn, about one trial in ten is kept and moves base/. The clock of the server's cache is set; ours is not.
"""

import gc
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import fmean, median
from typing import Any
from unittest.mock import patch

import typer

from data.errors import Refused
from data.state import State
from dev.benchmarks.replay import FILE
from experiments import novelty, trial
from experiments.bench import Bench
from experiments.calls import Calls, Outcome
from experiments.loop import open_bench
from experiments.prices import PRICES_DATE, Tokens, price_of
from experiments.proposal import Proposal
from experiments.settle import settle
from experiments.workspace import Workspace
from preflight import syntax
from proposers import Options, messages, render
from proposers.anthropic_api import MODEL, Anthropic
from proposers.context import gather
from proposers.reply import next_proposal
from tests.messages_api import MessagesApi, answered

ROOT = Path(__file__).resolve().parents[2]
KEPT, SPREAD_BPB = 0.1, 0.01


class Careless:
    """Edits one number of a file it was shown; every second answer has a line that is nowhere."""

    def __init__(self, seed: int) -> None:
        self.rng, self.answers, self.earlier = random.Random(seed), 0, [""]

    def __call__(self, request: dict[str, Any]) -> str:
        self.answers += 1
        shown = FILE.findall("".join(part["text"] for part in request["system"]))
        kind = request["messages"][0]["content"].partition("of class **")[2].partition("*")[0]
        if self.answers % 20 == 10:
            return self.rng.choice(self.earlier)
        path, text = self.rng.choice([file for file in shown if "bpb.py" not in file[0] and "shards" not in file[0]])
        lines = [line for line in text.splitlines() if line.strip() and text.count(line) == 1]
        line = self.rng.choice([line for line in lines if line.startswith("    ")] or lines)
        indent = line[: len(line) - len(line.lstrip())]
        marker = f"{indent}_ = {self.rng.random():.6f}  # {'reasons ' * 8}\n"
        search = line if self.answers % 2 == 0 else f"{line}  # not there"
        made = answered(
            edits=[{"path": path, "search": search, "replace": marker + line, "content": ""}],
            title=f"Idea {self.answers}",
            hypothesis="A mechanism, and what would refute it. " * 6,
            lessons=["What was learned. " * 8] * 6
            if "Also write `lessons`" in request["messages"][0]["content"]
            else [],
            **{"class": kind},
        )
        self.earlier.append(made)
        return made


@contextmanager
def git_seconds() -> Any:
    """Adds up what git's own processes take."""
    total, execute = [0.0], Workspace._execute

    def timed(*arguments: Any, **options: Any) -> bytes:
        began = time.perf_counter()
        try:
            return execute(*arguments, **options)
        finally:
            total[0] += time.perf_counter() - began

    with patch.object(Workspace, "_execute", timed):
        yield total


def repository(folder: Path) -> Path:
    """The real base/ and brief with one commit, and this checkout's pocket corpus."""
    root = folder / "repo"
    root.mkdir()
    subprocess.run(["cp", "-r", ROOT / "base", ROOT / "program.md", ROOT / ".gitignore", root], check=True)
    (root / "shards").symlink_to(ROOT / "shards")
    who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for arguments in (
        ["init", "--quiet"],
        ["add", "base", "program.md", ".gitignore"],
        ["commit", "--quiet", "-m", "start"],
    ):
        subprocess.run(["git", *who, *arguments], cwd=root, check=True)
    return root


def started(root: Path) -> Bench:
    bench = open_bench(root, "bench", "pocket", lambda *_: None, "none")
    start = bench.workspace.best()
    number = bench.intent("the baseline", "baseline", start, hypothesis="", proposal="{}")
    name = novelty.fingerprint(bench.workspace.read(start))
    bench.ledger.update(number, tree=bench.workspace.tree_of(start), fingerprint=name)
    settle(bench, number, None, State.BASELINE, [], val_bpb=1.94, artifact_bytes=229_000)
    return bench


def night(trials: int, minutes: float, seed: int) -> dict[str, Any]:
    """So many trials that far apart; what they cost and what came of them."""
    rng = random.Random(seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        MessagesApi(Careless(seed), clock=lambda: now[0]) as api,
        patch.dict(os.environ, api.environment),
        git_seconds() as git,
    ):
        now = [0.0]
        bench, controller = started(repository(Path(folder))), []
        for _ in range(trials):
            now[0] += 60 * minutes
            for remembered in (syntax.parse, novelty._syntax, render._environment):
                remembered.cache_clear()  # every proposal has a process of its own
            gc.collect()
            gc.disable()  # as generate_next.py does
            began, git[0] = time.perf_counter(), 0.0
            context = gather(bench.workspace.root, "bench", "none")
            tier = replace(context.profile.tier, expected_minutes=minutes / 1.8)
            proposer = Anthropic(Options())
            text = next_proposal(proposer, replace(context, profile=replace(context.profile, tier=tier)))
            proposer.close()
            waited = sum(call.seconds or 0.0 for call in Calls(bench.ledger).rows() if call.trial == len(context.rows))
            tried(bench, text, rng)
            controller.append(1000 * (time.perf_counter() - began - git[0] - waited))
            gc.enable()
        found = measured(bench, controller)
        bench.close()
        return {"minutes": minutes, **found}


def tried(bench: Bench, text: str, rng: random.Random) -> None:
    """As `run_trial` up to the tree; then an outcome is drawn."""
    parent = bench.workspace.best()
    proposal = Proposal.parse(text)
    number = bench.intent(
        proposal.title, proposal.kind, parent, hypothesis=proposal.hypothesis, proposal=proposal.to_json()
    )
    try:
        _, tree = trial._make_tree(bench, number, proposal, parent)
    except Refused as refusal:
        settle(bench, number, None, State(refusal.verdict), detail=str(refusal))
        return
    kept = rng.random() < KEPT
    delta = -abs(rng.gauss(0.02, SPREAD_BPB)) if kept else abs(rng.gauss(0.0, SPREAD_BPB))
    state = State.KEPT if kept else State.DISCARDED
    incumbent = bench.ledger.incumbent()
    assert incumbent is not None
    assert incumbent.val_bpb is not None
    values = {"val_bpb": incumbent.val_bpb + delta, "delta_bpb": delta, "artifact_bytes": 229_000}
    settle(bench, number, tree, state, [], detail="drawn", **values)


def measured(bench: Bench, controller: list[float]) -> dict[str, Any]:
    rows, calls = bench.ledger.rows(), [call for call in Calls(bench.ledger).rows() if call.state is Outcome.DONE]
    evaluated = [row for row in rows if row.state in (State.KEPT, State.DISCARDED)]
    names = [novelty.fingerprint(bench.workspace.read(row.commit_id or row.parent)) for row in [rows[0], *evaluated]]
    asked = {call.trial: call for call in calls if call.purpose == "propose"}
    price = price_of(MODEL)
    assert price is not None
    uncached = sum(price.dollars(Tokens(fresh=call.prompt_tokens, output=call.output_tokens)) for call in calls)
    dollars = sum(call.dollars or 0.0 for call in calls)
    prompt = sum(call.prompt_tokens for call in calls)
    return {
        "evaluated": len(evaluated),
        "refused": len(rows) - 1 - len(evaluated),
        "kept": sum(row.state is State.KEPT for row in rows),
        "clones": len(names) - len(set(names)),
        "calls": len(calls),
        "calls_each": len(calls) / len(evaluated),
        "cached": sum(call.read_tokens for call in calls) / prompt,
        "cached_first": sum(call.read_tokens for call in asked.values())
        / sum(call.prompt_tokens for call in asked.values()),
        "uncached_each": sum(call.prompt_tokens - call.read_tokens for call in calls) / len(evaluated),
        "tokens": {number: asked[number].prompt_tokens for number in (1, 10, 50, 100) if number in asked},
        "controller": controller,
        "dollars_each": dollars / len(evaluated),
        "uncached_dollars_each": uncached / len(evaluated),
    }


def start_milliseconds() -> float:
    """What generate_next.py takes to start: Python and its imports."""
    code = "import generate_next, proposers.anthropic_api"
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
        taken.append(1000 * (time.perf_counter() - began))
    return median(taken)


def main(trials: int = 100, seed: int = 7) -> None:
    """Print the tables as Markdown."""
    nights = [night(trials, minutes, seed) for minutes in (1, 6, 22)]
    print(
        f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores; {trials} trials, {MODEL}, "
        f"prices of {PRICES_DATE}.\n"
    )
    print(
        "| minutes apart | life | evaluated | clones | kept | calls | calls per evaluated "
        "| from the cache | first calls only |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for one in nights:
        life = messages.life(MODEL, one["minutes"])
        print(
            f"| {one['minutes']} | {life} | {one['evaluated']} | {one['clones']} | {one['kept']} | {one['calls']} "
            f"| {one['calls_each']:.2f} | {one['cached']:.1%} | {one['cached_first']:.1%} |"
        )
    print("\n| minutes apart | uncached tokens each | dollars each | the same calls without a cache | ratio |")
    print("|---|---|---|---|---|")
    for one in nights:
        ratio = one["dollars_each"] / one["uncached_dollars_each"]
        print(
            f"| {one['minutes']} | {one['uncached_each']:,.0f} | ${one['dollars_each']:.4f} "
            f"| ${one['uncached_dollars_each']:.4f} | {ratio:.2f} |"
        )
    print("\n| prompt tokens at trial | " + " | ".join(map(str, nights[0]["tokens"])) + " |")
    print("|---|" + "---|" * len(nights[0]["tokens"]))
    for one in nights:
        print(f"| {one['minutes']} min apart | " + " | ".join(f"{count:,}" for count in one["tokens"].values()) + " |")
    spent = sorted(value for one in nights for value in one["controller"])
    print(
        f"\nController, beyond git, the API and process start: median {median(spent):.0f} ms, mean {fmean(spent):.0f}, "
        f"95th percentile {spent[int(0.95 * len(spent))]:.0f}; process start (Python, anthropic and all) "
        f"{start_milliseconds():.0f} ms."
    )


if __name__ == "__main__":
    typer.run(main)

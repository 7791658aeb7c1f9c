"""Measure cost and rejections of the LLM proposer: 100 trials against the local Messages API, without training.

    .venv/bin/python -m dev.benchmarks.proposer            # a few minutes; prints the tables of proposer.md

Every second answer cannot be applied, every twentieth repeats an earlier one. Trees, commits and ledger are real,
outcomes are drawn; about one trial in ten is kept and moves base/. Only the clock of the server's cache is simulated.
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

from common.errors import Refused
from common.state import State
from dev.benchmarks.replay import FILE
from experiments.costs.llm_calls import Calls, Outcome
from experiments.costs.prices import PRICES_DATE, Tokens, price_of
from experiments.proposal import novelty
from experiments.proposal.options import ProposerOptions
from experiments.proposal.schema import Proposal
from experiments.repo.workspace import Workspace
from experiments.run.run import Run, open_run
from experiments.trial import trial
from experiments.trial.settle import settle
from preflight.source import syntax
from proposers.context import gather
from proposers.llm import messages
from proposers.llm import prompt as render
from proposers.llm.anthropic import MODEL, Anthropic
from proposers.reply import next_proposal
from tests.helpers.servers.messages import MessagesApi, answered

ROOT = Path(__file__).resolve().parents[2]
KEPT, SPREAD_BPB = 0.1, 0.01


class CarelessModel:
    """A model that adds a line to a file it was shown; every second answer searches for a line that does not exist."""

    def __init__(self, seed: int) -> None:
        self.rng, self.answers, self.earlier = random.Random(seed), 0, [""]

    def __call__(self, request: dict[str, Any]) -> str:
        self.answers += 1
        shown = FILE.findall("".join(part["text"] for part in request["system"]))
        kind = request["messages"][0]["content"].partition("of class **")[2].partition("*")[0]
        if self.answers % 20 == 10:
            return str(self.rng.choice(self.earlier))
        path, text = self.rng.choice([file for file in shown if "bpb.py" not in file[0] and "shards" not in file[0]])
        lines = [line for line in text.splitlines() if line.strip() and text.count(line) == 1]
        line = self.rng.choice([line for line in lines if line.startswith("    ")] or lines)
        indent = line[: len(line) - len(line.lstrip())]
        marker = f"{indent}_ = {self.rng.random():.6f}  # {'reasons ' * 8}\n"
        search = line if self.answers % 2 == 0 else f"{line}  # not there"
        answer = answered(
            edits=[{"path": path, "search": search, "replace": marker + line, "content": ""}],
            title=f"Idea {self.answers}",
            hypothesis="A mechanism, and what would refute it. " * 6,
            lessons=["What was learned. " * 8] * 6 * ("Also write `lessons`" in request["messages"][0]["content"]),
            **{"class": kind},
        )
        self.earlier.append(answer)
        return str(answer)


@contextmanager
def git_seconds() -> Any:
    """Add up the seconds that git's own processes take."""
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
    """Make a repository with the real base/ and brief in one commit, and this checkout's pocket corpus."""
    root = folder / "repo"
    root.mkdir()
    subprocess.run(["cp", "-r", ROOT / "base", ROOT / "program.md", ROOT / ".gitignore", root], check=True)
    (root / "shards").symlink_to(ROOT / "shards")
    identity = ["-c", "user.name=run", "-c", "user.email=run@localhost"]
    for arguments in (
        ["init", "--quiet"],
        ["add", "base", "program.md", ".gitignore"],
        ["commit", "--quiet", "-m", "start"],
    ):
        subprocess.run(["git", *identity, *arguments], cwd=root, check=True)
    return root


def start_run(root: Path) -> Run:
    run = open_run(root, "run", "pocket", lambda *_: None, "none")
    start = run.workspace.best()
    number = run.begin_trial("the baseline", "baseline", start, hypothesis="", proposal="{}")
    name = novelty.fingerprint(run.workspace.read(start))
    run.ledger.update(number, tree=run.workspace.tree_of(start), fingerprint=name)
    settle(run, number, None, State.BASELINE, [], val_bpb=1.94, artifact_bytes=229_000)
    return run


def simulate_run(trials: int, minutes: float, seed: int) -> dict[str, Any]:
    """Run `trials` trials, `minutes` apart, and return their costs and outcomes."""
    rng, now = random.Random(seed), [0.0]
    with (
        tempfile.TemporaryDirectory() as folder,
        MessagesApi(CarelessModel(seed), clock=lambda: now[0]) as api,
        patch.dict(os.environ, api.environment),
        git_seconds() as git,
    ):
        run, controller = start_run(repository(Path(folder))), []
        for _ in range(trials):
            now[0] += 60 * minutes
            for cached in (syntax.parse, novelty._syntax, render._environment):
                cached.cache_clear()  # every proposal has a process of its own
            gc.collect()
            gc.disable()  # as generate_next.py does
            began, git[0] = time.perf_counter(), 0.0
            context = gather(run.workspace.root, "run", "none")
            tier = replace(context.profile.tier, expected_minutes=minutes / 1.8)
            proposer = Anthropic(ProposerOptions())
            text = next_proposal(proposer, replace(context, profile=replace(context.profile, tier=tier)))
            proposer.close()
            waited = sum(call.seconds or 0.0 for call in Calls(run.ledger).rows() if call.trial == len(context.rows))
            try_proposal(run, text, rng)
            controller.append(1000 * (time.perf_counter() - began - git[0] - waited))
            gc.enable()
        summary = summarize(run, controller)
        run.close()
        return {"minutes": minutes, **summary}


def try_proposal(run: Run, text: str, rng: random.Random) -> None:
    """Do the same as `run_trial` up to the tree, then draw an outcome."""
    parent = run.workspace.best()
    proposal = Proposal.parse(text)
    number = run.begin_trial(
        proposal.title, proposal.kind, parent, hypothesis=proposal.hypothesis, proposal=proposal.to_json()
    )
    try:
        _, tree = trial._make_tree(run, number, proposal, parent)
    except Refused as refusal:
        settle(run, number, None, State(refusal.verdict), detail=str(refusal))
        return
    kept = rng.random() < KEPT
    delta = -abs(rng.gauss(0.02, SPREAD_BPB)) if kept else abs(rng.gauss(0.0, SPREAD_BPB))
    state = State.KEPT if kept else State.DISCARDED
    incumbent = run.ledger.incumbent()
    assert incumbent is not None
    assert incumbent.val_bpb is not None
    values = {"val_bpb": incumbent.val_bpb + delta, "delta_bpb": delta, "artifact_bytes": 229_000}
    settle(run, number, tree, state, [], detail="drawn", **values)


def summarize(run: Run, controller: list[float]) -> dict[str, Any]:
    rows, calls = run.ledger.rows(), [call for call in Calls(run.ledger).rows() if call.state is Outcome.DONE]
    evaluated = [row for row in rows if row.state in (State.KEPT, State.DISCARDED)]
    names = [novelty.fingerprint(run.workspace.read(row.commit_id or row.parent)) for row in [rows[0], *evaluated]]
    first_calls = {call.trial: call for call in calls if call.purpose == "propose"}
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
        "cached_first": sum(call.read_tokens for call in first_calls.values())
        / sum(call.prompt_tokens for call in first_calls.values()),
        "uncached_each": sum(call.prompt_tokens - call.read_tokens for call in calls) / len(evaluated),
        "tokens": {number: first_calls[number].prompt_tokens for number in (1, 10, 50, 100) if number in first_calls},
        "controller": controller,
        "dollars_each": dollars / len(evaluated),
        "uncached_dollars_each": uncached / len(evaluated),
    }


def start_milliseconds() -> float:
    """Return the median start-up time of generate_next.py: Python and its imports."""
    code = "import generate_next, proposers.llm.anthropic"
    milliseconds = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
        milliseconds.append(1000 * (time.perf_counter() - began))
    return median(milliseconds)


def main(trials: int = 100, seed: int = 7) -> None:
    """Print the tables as Markdown."""
    runs = [simulate_run(trials, minutes, seed) for minutes in (1, 6, 22)]
    machine = f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores"
    print(f"{machine}; {trials} trials, {MODEL}, prices of {PRICES_DATE}.\n")
    columns = "minutes apart | cache TTL | evaluated | clones | kept | calls | calls per evaluated | from the cache"
    print(f"| {columns} | first calls only |")
    print("|---|---|---|---|---|---|---|---|---|")
    for run in runs:
        cache_ttl = messages.cache_ttl(MODEL, run["minutes"])
        print(
            f"| {run['minutes']} | {cache_ttl} | {run['evaluated']} | {run['clones']} | {run['kept']} | {run['calls']} "
            f"| {run['calls_each']:.2f} | {run['cached']:.1%} | {run['cached_first']:.1%} |"
        )
    print("\n| minutes apart | uncached tokens each | dollars each | the same calls without a cache | ratio |")
    print("|---|---|---|---|---|")
    for run in runs:
        ratio = run["dollars_each"] / run["uncached_dollars_each"]
        print(
            f"| {run['minutes']} | {run['uncached_each']:,.0f} | ${run['dollars_each']:.4f} "
            f"| ${run['uncached_dollars_each']:.4f} | {ratio:.2f} |"
        )
    print("\n| prompt tokens at trial | " + " | ".join(map(str, runs[0]["tokens"])) + " |")
    print("|---|" + "---|" * len(runs[0]["tokens"]))
    for run in runs:
        print(f"| {run['minutes']} min apart | " + " | ".join(f"{count:,}" for count in run["tokens"].values()) + " |")
    spent = sorted(value for run in runs for value in run["controller"])
    print(
        f"\nController, beyond git, the API and process start: median {median(spent):.0f} ms, mean {fmean(spent):.0f}, "
        f"95th percentile {spent[int(0.95 * len(spent))]:.0f}; process start (Python, anthropic and all) "
        f"{start_milliseconds():.0f} ms."
    )


if __name__ == "__main__":
    typer.run(main)

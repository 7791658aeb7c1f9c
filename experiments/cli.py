"""Every command a person uses: `python -m experiments run | status | show | diff`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from data.errors import CaddieError
from experiments import loop, view
from experiments.ledger import Ledger
from experiments.tiers import PROFILES
from experiments.workspace import Workspace
from preflight import bundle
from preflight.text import one_line

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
console = Console(highlight=False)
if not console.is_terminal:
    console.width = 120  # a log has no edge to wrap at

Name = Annotated[str, typer.Option("--run", help="the run; the same name goes on where it ended")]
Root = Annotated[Path, typer.Option(help="the repository that holds base/")]


@app.command()
def run(
    trials: Annotated[int, typer.Option(min=0, help="stop after this many settled trials")] = 3,
    hours: Annotated[float, typer.Option(help="stop after this many hours")] = 12.0,
    name: Name = "demo",
    profile: Annotated[str, typer.Option(help="the machine: " + ", ".join(PROFILES))] = "pocket",
    proposer: Annotated[str, typer.Option(help="who proposes: scripted")] = "scripted",
    script: Annotated[Path | None, typer.Option(help="folder of proposals that `scripted` replays")] = None,
    level: Annotated[str | None, typer.Option(help="sandbox level; default: the best this machine offers")] = None,
    root: Root = Path(),
) -> None:
    """Measure the baseline, then try proposals. Example: python -m experiments run --trials 3"""
    progress = view.Progress(console)
    bench = loop.open_bench(root, name, profile, progress.announce, level)
    console.print(
        Text(
            f"run {name}: profile {profile}, about {bench.tier.expected_minutes:g} minutes a trial, "
            f"sandbox level {bench.level}, corpus {bench.corpus.manifest.source}"
        )
    )
    if not bench.workspace.base_is_clean():
        console.print(Text("base/ has changes that are not committed; the run uses the committed tree", "yellow"))
    arguments = ("--script", str(script)) if script else ()
    try:
        reason = loop.run(bench, proposer, trials, hours, progress.report, arguments, root / "STOP")
    finally:
        progress.stop()
    console.print(Text(f"stopped: {reason}"))
    view.summary(console, name, bench.ledger.rows())


@app.command()
def status(name: Name = "demo", root: Root = Path()) -> None:
    """All trials of a run. Example: python -m experiments status --run demo"""
    view.summary(console, name, open_ledger(root, name).rows())


@app.command()
def show(number: int, name: Name = "demo", root: Root = Path()) -> None:
    """One trial in full, with the command that repeats it by hand. Example: python -m experiments show 1"""
    ledger = open_ledger(root, name)
    row = ledger.row(number)
    extra = []
    for measured in ledger.measurements(number):
        proof = measured.honesty
        extra.append(
            f"seed {measured.seed}: {measured.val_bpb:.8f} bpb; train {measured.train_cpu_seconds:.1f} CPU s, score "
            f"{measured.score_cpu_seconds:.1f} CPU s; artifact {measured.artifact_sha256[:16]}"
        )
        extra.append(
            f"proof: {proof.tokens} losses read twice, {proof.places} distributions; largest difference "
            f"{proof.largest_difference_nats:.2g} nats, noise {proof.noise_nats:.2g}; off by at most "
            f"{measured.honesty_bpb:.5f} bpb smoothly, {measured.rare_bpb:.3f} by a lie "
            f"on under {proof.rare_share:.1%} of tokens"
        )
        extra += ["by hand:", "  " + by_hand(root, name, row.profile, number, measured.seed)]
    view.detail(console, row, ledger.stages(number), extra)


@app.command()
def diff(number: int, name: Name = "demo", root: Root = Path()) -> None:
    """What a trial changed in base/. Example: python -m experiments diff 1 | less"""
    row = open_ledger(root, name).row(number)
    if not row.commit_id:
        raise CaddieError(f"trial {number} has no commit; its state is {row.state}")
    for line in Workspace(root, name).diff(row.parent, row.commit_id).splitlines():
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        console.print(Text(one_line(line, 500), style), soft_wrap=True)


def by_hand(root: Path, run: str, profile: str, number: int, seed: int) -> str:
    """The shell command that trains, packs and scores a trial's bundle without the harness."""
    tier = PROFILES[profile]
    shards = Path("shards") / profile
    environment = {
        **tier.target.environment,
        "PRESET": tier.target.preset,
        "SEED": str(seed),
        "DATA_PATH": str(shards / "train"),
        "VAL_PATH": str(shards / tier.split),
        "TOKENIZER_PATH": str(shards / "tokenizer.model"),
    }
    assignments = " ".join(f"{key}={shlex.quote(value)}" for key, value in environment.items())
    return f"env {assignments} .venv/bin/python trials/{run}/{number:04d}/{bundle.NAME}"


def open_ledger(root: Path, name: str) -> Ledger:
    path = root / "trials" / name / "ledger.sqlite"
    if not path.exists():
        raise CaddieError(f"no run {name!r} at {path.parent}; ./loop.sh --run {name} starts one")
    return Ledger(path)


def main() -> None:
    try:
        app()
    except CaddieError as error:
        console.print(Text(one_line(str(error), 1000), "red"), soft_wrap=True)
        raise SystemExit(1) from error

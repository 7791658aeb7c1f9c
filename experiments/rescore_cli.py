"""The command `python -m experiments rescore`: what a person sees of experiments/rescore.py."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from data.corpus import Corpus
from data.errors import CaddieError
from experiments.bench import measured_in
from experiments.rescore import Rescored, rescore
from experiments.runs import open_ledger, profile_of
from preflight.sandbox.isolation import available_levels
from preflight.text import one_line


def command(
    number: Annotated[int, typer.Argument(help="a finished trial; 0 is the baseline")],
    assignments: Annotated[list[str], typer.Option("--set", metavar="NAME=VALUE", help="a knob of packing or scoring")],
    name: Annotated[str, typer.Option("--run", help="the run")] = "demo",
    level: Annotated[str | None, typer.Option(help="sandbox level; default: the best this machine offers")] = None,
    root: Annotated[Path, typer.Option(help="the repository that holds base/")] = Path(),
) -> None:
    """A finished trial's weights packed and scored again with other knobs, without training.

    Example: python -m experiments rescore 0 --set eval_stride=32
    """
    console, ledger = Console(highlight=False), open_ledger(root, name)
    profile, values = profile_of(ledger), dict(pair(text) for text in assignments)
    corpus = Corpus.open(root / "shards" / profile.corpus)
    taken = [one for one in ledger.taken(number) if one.tier == profile.tier.name]
    its = [one for one in taken if one.fresh_for in (None, number)]  # what stands beside other trials is not kept
    measured = [(one.measured, measured_in(ledger.path.parent, number, one)) for one in its]
    folder = ledger.path.with_name(f"{number:04d}")
    for found in rescore(folder, measured, values, profile, corpus, level or available_levels()[0]):
        ledger.add_rescore(
            number, found.seed, values, found.score.val_bpb, found.artifact_bytes, found.score.cpu_seconds
        )
        console.print(Text(one_line(line(found), 300)), soft_wrap=True)


def pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise CaddieError(f"--set expects NAME=VALUE, got {one_line(text, 100)!r}")
    return name.lower(), value


def line(found: Rescored) -> str:
    """One seed: bits per byte, bytes and the cost of scoring, each against what the trial had."""
    before, score = found.before, found.score
    return (
        f"seed {found.seed}  {score.val_bpb:.4f} bpb ({score.val_bpb - before.val_bpb:+.4f})  "
        f"{found.artifact_bytes:,} bytes ({found.artifact_bytes - before.artifact_bytes:+,})  "
        f"score {score.cpu_seconds:.1f} CPU s (was {before.score_cpu_seconds:.1f})  "
        f"honesty bound {score.honesty_bpb:.4f}"
    )

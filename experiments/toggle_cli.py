"""The command `python -m experiments toggles`: what a person sees of experiments/toggles.py."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from data.corpus import Corpus, file_sha256
from data.errors import CaddieError
from experiments.tiers import PROFILES
from experiments.toggles import Arm, Toggles, markdown, rows, stored
from preflight import bundle
from preflight.sandbox.isolation import available_levels
from preflight.text import one_line
from preflight.tree import read_folder


def toggles(
    validate: Annotated[bool, typer.Option(help="only a smoke run of every technique and preset")] = False,
    profile: Annotated[str, typer.Option(help="the machine; its preset is what techniques are added to")] = "pocket",
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="this technique; may be given again")] = None,
    seeds: Annotated[int, typer.Option(min=2, help="pairs per technique")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="of training")] = 150,
    minutes: Annotated[float, typer.Option(min=0.0, help="start nothing after this; the same command goes on")] = 58.0,
    out: Annotated[Path | None, typer.Option(help="a file that gets the table")] = None,
    level: Annotated[str | None, typer.Option(help="sandbox level; default: the best this machine offers")] = None,
    root: Annotated[Path, typer.Option(help="the repository that holds base/")] = Path(),
) -> None:
    """Every technique of base/ alone against the preset, as it stands in the folder, on the same seeds.

    Example: python -m experiments toggles --validate
    """
    console = Console(highlight=False)
    if profile not in PROFILES:
        raise CaddieError(f"got profile {profile!r}, expected one of {', '.join(PROFILES)}")
    corpus, target = Corpus.open(root / "shards" / PROFILES[profile].corpus), PROFILES[profile].tier.target
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / bundle.NAME
        program.write_bytes(bundle.build(read_folder(root)))
        bench = Toggles(program, target, corpus, Path(scratch), level or available_levels()[0])
        techniques, presets = bench.arms()
        if only:
            if unknown := set(only) - {arm.name for arm in techniques}:
                raise CaddieError(f"--only: got {sorted(unknown)}, expected techniques that `describe` lists")
            techniques, presets = [arm for arm in techniques if arm.name in only], []
        if validate:
            check(console, bench, techniques + presets)
            return
        store = root / "trials" / "toggles" / f"{profile}-{file_sha256(program)[:16]}-{steps}.jsonl"
        store.parent.mkdir(parents=True, exist_ok=True)
        for sample in bench.measure(techniques, range(1, seeds + 1), steps, minutes, store):
            line = f"{sample.arm:22} seed {sample.seed}  {sample.val_bpb:.4f} bpb  {sample.train_cpu_seconds:.1f} CPU s"
            console.print(Text(one_line(line, 200)))
    table = markdown(rows(stored(store)))
    console.print(Text(table), soft_wrap=True)
    if out:
        out.write_text(table, encoding="utf-8")


def check(console: Console, bench: Toggles, arms: list[Arm]) -> None:
    """A line per smoke run as it ends; raises CaddieError if one did not pass."""
    failed = []
    for arm, wrong, seconds in bench.validate(arms):
        failed += [arm.name] if wrong else []
        line = f"{'refused' if wrong else 'passed':8} {arm.name:22} {seconds:5.1f} s  {wrong}"
        console.print(Text(one_line(line, 400), "red" if wrong else ""), soft_wrap=True)
    if failed:
        raise CaddieError(f"{len(failed)} of {len(arms)} did not pass: {', '.join(failed)}")
    console.print(f"all {len(arms)} passed")

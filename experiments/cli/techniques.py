"""The command `toggles`: measure each technique of base/ alone."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from common.errors import CaddieError
from common.text import one_line
from experiments.cli.console import screen
from experiments.cli.options import Level, Root
from experiments.run.machine import corpus_folder, named

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.techniques import Arm, TechniqueStudy


def toggles(
    validate: Annotated[bool, typer.Option(help="only run a smoke test of every technique and preset")] = False,
    profile: Annotated[str, typer.Option(help="the machine; techniques are added to its preset")] = "pocket",
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="only this technique; can be given more than once")
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="pairs per technique")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="training steps")] = 150,
    minutes: Annotated[
        float, typer.Option(min=0.0, help="start no measurement after this; the same command continues")
    ] = 58.0,
    out: Annotated[Path | None, typer.Option(help="also write the table to this file")] = None,
    level: Level = None,
    root: Root = Path(),
) -> None:
    """Measure every technique of base/, as it is on disk, alone against the preset on the same seeds.

    Example: python -m experiments toggles --validate
    """
    from data.corpus import Corpus, file_sha256
    from experiments.techniques import TechniqueStudy, markdown_table, paired_rows, read_samples
    from preflight.sandbox.isolation.levels import available_levels
    from preflight.source import bundle
    from preflight.source.tree import read_folder

    console = screen()
    machine = named(profile)
    corpus, target = Corpus.open(corpus_folder(root, machine)), machine.tier.target
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / bundle.NAME
        program.write_bytes(bundle.build(read_folder(root)))
        study = TechniqueStudy(program, target, corpus, Path(scratch), level or available_levels()[0])
        techniques, presets = study.arms()
        if only:
            if unknown := set(only) - {arm.name for arm in techniques}:
                raise CaddieError(f"--only: got {sorted(unknown)}, expected techniques that `describe` lists")
            techniques, presets = [arm for arm in techniques if arm.name in only], []
        if validate:
            check(console, study, techniques + presets)
            return
        store = root / "trials" / "toggles" / f"{profile}-{file_sha256(program)[:16]}-{steps}.jsonl"
        store.parent.mkdir(parents=True, exist_ok=True)
        for sample in study.measure(techniques, range(1, seeds + 1), steps, minutes, store):
            line = f"{sample.arm:22} seed {sample.seed}  {sample.val_bpb:.4f} bpb  {sample.train_cpu_seconds:.1f} CPU s"
            console.print(Text(one_line(line, 200)))
    table = markdown_table(paired_rows(read_samples(store)))
    console.print(Text(table), soft_wrap=True)
    if out:
        out.write_text(table, encoding="utf-8")


def check(console: "Console", study: "TechniqueStudy", arms: "list[Arm]") -> None:
    """Print a line per smoke run as it ends; raises CaddieError if one did not pass."""
    failed = []
    for arm, problem, seconds in study.validate(arms):
        failed += [arm.name] if problem else []
        line = f"{'refused' if problem else 'passed':8} {arm.name:22} {seconds:5.1f} s  {problem}"
        console.print(Text(one_line(line, 400), "red" if problem else ""), soft_wrap=True)
    if failed:
        raise CaddieError(f"{len(failed)} of {len(arms)} did not pass: {', '.join(failed)}")
    console.print(f"all {len(arms)} passed")

"""Commands that measure a settled trial again: `rerun` repeats it, `rescore` scores its training with other knobs."""

import contextlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from common.errors import CaddieError
from common.text import one_line
from experiments.cli.console import screen
from experiments.cli.options import Level, Name, Root
from experiments.run.layout import measurement_folder, open_ledger
from experiments.run.machine import corpus_folder, profile_of

if TYPE_CHECKING:
    from experiments.runner.rescore import Rescored


def rescore(
    number: Annotated[int, typer.Argument(help="a finished trial; 0 is the baseline")],
    assignments: Annotated[
        list[str], typer.Option("--set", metavar="NAME=VALUE", help="a knob of quantization, packing or scoring")
    ],
    name: Name = "demo",
    trial: Annotated[
        bool, typer.Option("--trial", help="as a trial of its own, which is judged and may be kept")
    ] = False,
    level: Level = None,
    root: Root = Path(),
) -> None:
    """Score a finished trial again with other knobs of quantization, packing or scoring, without training.

    The result is a note on the trial. With --trial, for the incumbent alone, it is a trial: judged on the same weights,
    and kept if it is better there and in full on fresh seeds.

    Example: python -m experiments rescore 0 --set eval_stride=32
    Example: python -m experiments rescore 0 --set ngram_order=5 --set ngram_smoothing=witten_bell --trial
    """
    if trial:
        from experiments.cli.steer import try_knobs

        try_knobs(root, name, number, dict(parse_assignment(text) for text in assignments))
        return
    from data.corpus import Corpus
    from experiments.runner import rescore as runner
    from preflight.sandbox.isolation.levels import available_levels

    console, ledger = screen(), open_ledger(root, name)
    profile, values = profile_of(ledger), dict(parse_assignment(text) for text in assignments)
    corpus = Corpus.open(corpus_folder(root, profile))
    rows = [row for row in ledger.measurement_rows(number) if row.tier == profile.tier.name]
    own = [row for row in rows if row.fresh_for in (None, number)]  # weights of reruns for other trials are not kept
    measured = [(row.measured, measurement_folder(ledger.path.parent, number, row)) for row in own]
    folder = ledger.path.with_name(f"{number:04d}")
    for rescored in runner.rescore(folder, measured, values, profile, corpus, level or available_levels()[0]):
        score = rescored.score
        ledger.add_rescore(number, rescored.seed, values, score.val_bpb, rescored.artifact_bytes, score.cpu_seconds)
        console.print(Text(one_line(describe(rescored), 300)), soft_wrap=True)


def parse_assignment(text: str) -> tuple[str, str]:
    """Split NAME=VALUE into the knob's name and its value; raises CaddieError."""
    name, equals, value = text.partition("=")
    if not equals:
        raise CaddieError(f"--set expects NAME=VALUE, got {one_line(text, 100)!r}")
    return name.lower(), value


def describe(rescored: "Rescored") -> str:
    """Return one seed's bits per byte, bytes and CPU seconds of scoring, each compared with the trial's own."""
    before, score = rescored.before, rescored.score
    return (
        f"seed {rescored.seed}  {score.val_bpb:.4f} bpb ({score.val_bpb - before.val_bpb:+.4f})  "
        f"{rescored.artifact_bytes:,} bytes ({rescored.artifact_bytes - before.artifact_bytes:+,})  "
        f"score {score.cpu_seconds:.1f} CPU s (was {before.score_cpu_seconds:.1f})  "
        f"score error ±{score.honesty_bpb:.4f}"
    )


def rerun(
    number: Annotated[int, typer.Argument(help="a measured trial")],
    seed: Annotated[int | None, typer.Option(help="default: the first seed, which must give the same artifact")] = None,
    name: Name = "demo",
    root: Root = Path(),
) -> None:
    """Measure a trial again, with no effect on its verdict. Example: python -m experiments rerun 12 --seed 7"""
    from experiments.run.run import reopen
    from experiments.trial.rerun import rerun as measure_again

    console = screen()

    def announce(_: int, title: str, stage: str) -> None:
        console.print(Text(f"{datetime.now():%H:%M:%S}  {stage}  {one_line(title, 60)}"))

    with contextlib.closing(reopen(root, name, announce)) as run:
        repeated = measure_again(run, number, seed)
    measured, earlier = repeated.measured, repeated.earlier
    text = f"seed {measured.seed}: {measured.val_bpb:.8f} bpb, {measured.artifact_bytes:,} bytes"
    if earlier:
        same = "the same artifact" if repeated.same_artifact else "another artifact"
        text += f"; before {earlier.val_bpb:.8f} bpb: {same}"
    console.print(Text(text), soft_wrap=True)

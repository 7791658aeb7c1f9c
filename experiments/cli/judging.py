"""Commands of the judge: `rejudge` a run under another rule, `ablate` a trial, `verdict` on a record."""

import contextlib
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from common.errors import CaddieError
from common.state import State
from common.text import one_line
from experiments.analysis.pairing import noise_floor
from experiments.cli.console import screen
from experiments.cli.options import Name, Root, RunArgument
from experiments.judge.rule import FINAL_STEPS, parse_rule
from experiments.run.layout import open_ledger, profile_of

if TYPE_CHECKING:
    from experiments.promotion.ablation import Ablated


def rejudge(
    run: RunArgument,
    rule: Annotated[str, typer.Option(help="greedy, caddie, or thresholds: keep_p=0.05,fresh=3")] = "caddie",
    root: Root = Path(),
) -> None:
    """Judge a run under another rule, from its ledger. Example: python -m experiments rejudge demo --rule greedy"""
    from experiments.analysis import rejudge as analysis

    console, ledger = screen(), open_ledger(root, run)
    trials = list(analysis.rejudge(ledger, profile_of(ledger).tier, parse_rule(rule)))
    table = Table("trial", "title", "then", "now", "search", "fresh seeds", box=None, pad_edge=False)
    for trial in trials:
        differences = [
            f"{fmean(values):+.4f} ({len(values)})" if values else "-"
            for values in (trial.evidence.search, trial.evidence.fresh)
        ]
        row, title = trial.row, Text(one_line(trial.row.title, 60))
        changed = trial.step in FINAL_STEPS and str(trial.step) != str(row.state)
        now = Text(trial.verdict, "bold" if changed else "")
        table.add_row(f"{row.number:04d}", title, str(row.state), now, *differences)
    console.print(table)
    before, after = [str(trial.row.state) for trial in trials], [trial.verdict for trial in trials]
    for name, states in (("then", before), ("now", after)):
        counts = ", ".join(f"{count} {state}" for state, count in Counter(states).most_common())
        console.print(Text(f"{name}: {counts or 'nothing was measured'}"))


def ablate(
    number: Annotated[int, typer.Argument(help="a measured trial")],
    name: Name = "demo",
    root: Root = Path(),
) -> None:
    """Measure a trial without each of its changes in turn. Example: python -m experiments ablate 12 --run night"""
    from experiments.promotion import ablation
    from experiments.run.run import reopen
    from experiments.trial.baseline import cpu_budget, measure_baseline

    console = screen()

    def announce(_: int, label: str, stage: str) -> None:
        console.print(Text(f"{stage}  {one_line(label, 80)}"))

    with contextlib.closing(reopen(root, name, announce)) as run:
        row = run.ledger.row(number)
        limits = cpu_budget(run, measure_baseline(run))
        noise, rule = noise_floor(run.ledger, run.tier), run.tier.rule
        for ablated in ablation.ablate(run, row, limits):
            detectable = rule.detectable(noise, len(ablated.differences) or None)
            console.print(Text(one_line(describe(ablated, detectable), 300)), soft_wrap=True)


def describe(ablated: "Ablated", detectable: float) -> str:
    """Return in a line what the trial loses without one of its changes."""
    if ablated.verdict:
        needed = ": the rest needs it" if ablated.verdict.startswith((State.CRASH, State.STATIC)) else ""
        return f"without {ablated.label}: {ablated.verdict}{needed}"
    loss = fmean(ablated.differences)
    measured = f"without {ablated.label}: {loss:+.4f} bpb on {len(ablated.differences)} seeds"
    if abs(loss) < detectable:
        return f"{measured}: no detectable difference (detectable {detectable:.4f}); leave it out?"
    return f"{measured}: it earns its place" if loss > 0 else f"{measured}: better without it"


def verdict(
    number: Annotated[int | None, typer.Argument(help="a trial; or use --bpb")] = None,
    name: Name = "demo",
    bpb: Annotated[
        list[float] | None, typer.Option(help="bits per byte of a seed; can be given more than once")
    ] = None,
    track: Annotated[str, typer.Option(help="a track of records/frontier.json")] = "track_10min_16mb",
    root: Root = Path(),
) -> None:
    """Test seeds against the record. Example: python -m experiments verdict --bpb 1.0571 --bpb 1.0563 --bpb 1.0568"""
    from preflight.records import frontier

    console, record = screen(), frontier.read(root / "records" / "frontier.json", track)
    values, lacking = list(bpb or []), ""
    if number is not None:
        ledger = open_ledger(root, name)
        profile = profile_of(ledger)
        wanted = profile.record.name if profile.record else "record"
        rows = ledger.measurement_rows(number)
        values += [row.measured.val_bpb for row in rows if row.tier == wanted]
        if not values:
            searched = [row for row in rows if row.tier == profile.tier.name]
            values = [row.measured.val_bpb for row in searched if row.fresh_for in (None, number)]
            lacking = "seeds on the validation set: these are from the search, which selects low values"
    if not values:
        raise CaddieError("expected a measured trial or --bpb, got no number to judge")
    console.print(
        Text(f"record: {record.title}, {fmean(record.val_bpb):.5f} bpb on {len(record.seeds)} seeds"), soft_wrap=True
    )
    console.print(Text(f"        {record.source}"), soft_wrap=True)
    console.print(Text(f"new:    {fmean(values):.5f} bpb on {len(values)} seeds"))
    if number is not None and profile.gpus == 0:
        lacking = "numbers on the challenge's validation set: this profile measures another text"
    for tested in frontier.verdicts(values, record):
        missing = [lacking] if lacking else []
        met = not tested.missing and not missing
        console.print(Text(tested.summary(missing), "green" if met else "yellow"), soft_wrap=True)

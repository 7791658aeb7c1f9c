"""The judge's commands: `rejudge` a night under another rule, `ablate` a winner, ask for the `verdict` on a record."""

from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.errors import CaddieError
from data.state import State
from experiments import loop
from experiments.ablation import Ablated, ablate
from experiments.baseline import baseline, budget
from experiments.judge import ENDS, rule_named
from experiments.rejudge import rejudge
from experiments.replicates import noise_floor
from experiments.runs import Root, open_ledger, profile_of
from preflight import frontier
from preflight.text import one_line

console = Console(highlight=False)


def command_rejudge(
    run: Annotated[str, typer.Argument(help="the run")],
    rule: Annotated[str, typer.Option(help="greedy, confirm, caddie, or thresholds: keep_p=0.05,fresh=3")] = "caddie",
    root: Root = Path(),
) -> None:
    """A night under another rule, from its ledger alone. Example: python -m experiments rejudge demo --rule greedy"""
    ledger = open_ledger(root, run)
    found = list(rejudge(ledger, profile_of(ledger).tier, rule_named(rule)))
    table = Table("trial", "title", "then", "now", "search", "fresh seeds", box=None, pad_edge=False)
    for one in found:
        told = [
            f"{fmean(values):+.4f} ({len(values)})" if values else "-"
            for values in (one.evidence.search, one.evidence.fresh)
        ]
        title = Text(one_line(one.row.title, 60))
        changed = one.step in ENDS and str(one.step) != str(one.row.state)
        table.add_row(
            f"{one.row.number:04d}", title, str(one.row.state), Text(one.told, "bold" if changed else ""), *told
        )
    console.print(table)
    for name, states in (("then", [str(one.row.state) for one in found]), ("now", [one.told for one in found])):
        counts = ", ".join(f"{count} {state}" for state, count in Counter(states).most_common())
        console.print(Text(f"{name}: {counts or 'nothing was measured'}"))


def command_ablate(
    number: Annotated[int, typer.Argument(help="a measured trial")],
    run: Annotated[str, typer.Option("--run", help="the run")] = "demo",
    root: Root = Path(),
) -> None:
    """A winner measured again without each of its changes. Example: python -m experiments ablate 12 --run night"""
    profile = open_ledger(root, run).fact("profile") or ""

    def announce(_: int, label: str, stage: str) -> None:
        console.print(Text(f"{stage}  {one_line(label, 80)}"))

    bench = loop.open_bench(root, run, profile, announce)
    try:
        row = bench.ledger.row(number)
        limits = budget(bench, baseline(bench))
        noise, rule = noise_floor(bench.ledger, bench.tier), bench.tier.rule
        for one in ablate(bench, row, limits):
            detectable = rule.detectable(noise, len(one.differences) or None)
            console.print(Text(one_line(told(one, detectable), 300)), soft_wrap=True)
    finally:
        bench.close()


def told(one: Ablated, detectable: float) -> str:
    """One change: what the winner loses without it."""
    if one.verdict:
        needed = ": the rest needs it" if one.verdict.startswith((State.CRASH, State.STATIC)) else ""
        return f"without {one.label}: {one.verdict}{needed}"
    loss = fmean(one.differences)
    shown = f"without {one.label}: {loss:+.4f} bpb on {len(one.differences)} seeds"
    if abs(loss) < detectable:
        return f"{shown}: no difference that shows (detectable {detectable:.4f}); leave it out?"
    return f"{shown}: it earns its place" if loss > 0 else f"{shown}: better without it"


def command_verdict(
    number: Annotated[int | None, typer.Argument(help="a trial; or give --bpb")] = None,
    run: Annotated[str, typer.Option("--run", help="the run")] = "demo",
    bpb: Annotated[list[float] | None, typer.Option(help="bits per byte of one seed; once for each")] = None,
    track: Annotated[str, typer.Option(help="a track of records/frontier.json")] = "track_10min_16mb",
    root: Root = Path(),
) -> None:
    """Do these seeds beat the record? Example: python -m experiments verdict --bpb 1.0571 --bpb 1.0563 --bpb 1.0568"""
    record = frontier.read(root / "records" / "frontier.json", track)
    values, foreign = list(bpb or []), ""
    if number is not None:
        ledger = open_ledger(root, run)
        profile = profile_of(ledger)
        wanted = profile.record.name if profile.record else "record"
        values += [one.measured.val_bpb for one in ledger.taken(number) if one.tier == wanted]
        if not values:
            searched = [one for one in ledger.taken(number) if one.tier == profile.tier.name]
            values = [one.measured.val_bpb for one in searched if one.fresh_for in (None, number)]
            foreign = "seeds on the validation set: these are a search's, of which some were chosen for being low"
    if not values:
        raise CaddieError("expected a measured trial or --bpb, got no number to judge")
    console.print(
        Text(f"record: {record.title}, {fmean(record.val_bpb):.5f} bpb on {len(record.seeds)} seeds"), soft_wrap=True
    )
    console.print(Text(f"        {record.source}"), soft_wrap=True)
    console.print(Text(f"new:    {fmean(values):.5f} bpb on {len(values)} seeds"))
    if number is not None and profile.gpus == 0:
        foreign = "numbers on the challenge's validation set: this profile measures another text"
    for one in frontier.verdicts(values, record):
        lacks = [foreign] if foreign else []
        met = not one.missing and not lacks
        console.print(Text(one.told(lacks), "green" if met else "yellow"), soft_wrap=True)

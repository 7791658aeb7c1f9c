"""Commands that compare: two trials (`compare`), a run under another rule (`rejudge`), `ablate`, `verdict`."""

import contextlib
import json
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from common.errors import CaddieError
from common.state import State
from common.text import one_line
from experiments.analysis.pairing import noise_floor
from experiments.cli.console import screen
from experiments.cli.options import AsJson, Name, Root, RunArgument
from experiments.judge.rule import FINAL_STEPS, parse_rule
from experiments.repo.run_name import checked_name
from experiments.run.layout import open_ledger
from experiments.run.machine import profile_of

if TYPE_CHECKING:
    from experiments.analysis.comparison import Side
    from experiments.promotion.ablation import Ablated
    from preflight.records.frontier import Record


def compare(
    first: Annotated[str, typer.Argument(help="a trial, or RUN:TRIAL")],
    second: Annotated[str, typer.Argument(help="another trial, or RUN:TRIAL")],
    name: Name = "demo",
    measure: Annotated[bool, typer.Option("--measure", help="measure the second on seeds of the first")] = False,
    as_json: AsJson = False,
    root: Root = Path(),
) -> None:
    """Compare two trials: shared seeds, knobs, bytes, time. Example: python -m experiments compare 3 12

    They may belong to different runs of the same profile and corpus: compare night:7 second:3 --measure
    """
    from experiments.analysis.comparison import shared

    sides = [_side(root, text, name) for text in (first, second)]
    if measure:
        sides[1] = _measure_missing(root, *sides)
    rows, differences = [side.row for side in sides], [*shared(*sides).values()]
    knobs = [json.loads(row.knobs or "{}", parse_constant=str) for row in rows]
    changed = {knob: [side.get(knob) for side in knobs] for knob in sorted({*knobs[0], *knobs[1]})}
    changed = {knob: values for knob, values in changed.items() if values[0] != values[1]}
    names = ("state", "val_bpb", "artifact_bytes", "train_seconds", "score_seconds", "net_code_lines")
    facts = {fact: [getattr(row, fact) for row in rows] for fact in names}
    if as_json:
        numbers = [row.number for row in rows]
        print(json.dumps({"trials": numbers, **facts, "paired_differences_bpb": differences, "knobs": changed}))
        return
    _print_comparison(root, sides, facts, changed, differences)


def _print_comparison(
    root: Path,
    sides: list["Side"],
    facts: dict[str, list[Any]],
    changed: dict[str, list[Any]],
    differences: list[float],
) -> None:
    console = screen()
    for label, values in [("trial", [f"{each.name} {one_line(each.row.title, 36)}" for each in sides]), *facts.items()]:
        shown = [
            f"{value:,.4f}" if isinstance(value, float) else str("-" if value is None else value) for value in values
        ]
        console.print(Text(f"{label:>16}  {shown[0]:<44}  {shown[1]}"), soft_wrap=True)
    for knob, values in changed.items():
        cells = [one_line(str(value), 40) for value in values]
        console.print(Text(f"{one_line(knob, 30):>16}  {cells[0]:<44}  {cells[1]}"))
    if differences:
        with contextlib.closing(open_ledger(root, sides[0].run)) as ledger:
            noise = noise_floor(ledger, sides[0].profile.tier)
        p_value = noise.p_value(fmean(differences), len(differences))
        seeds = f"{fmean(differences):+.4f} bpb on {len(differences)} shared seeds"
        chance = f"(one-sided p {p_value:.3f}, noise {noise.difference_sd:.4f} a pair)"
        console.print(Text(f"{sides[1].name} against {sides[0].name}: {seeds} {chance}", "bold"))
    else:
        text = "no seed was measured on both trials, so their values say nothing about each other; --measure runs them"
        console.print(Text(text, "yellow"))


def _side(root: Path, text: str, run: str) -> "Side":
    """Return the trial that `7` or `night:7` names; raises CaddieError."""
    from experiments.analysis.comparison import side

    named, colon, number = text.rpartition(":")
    if not number.isdecimal():
        raise CaddieError(f"got {one_line(text, 60)!r}, expected a trial, such as 7 or night:7")
    run = checked_name(named) if colon else run
    with contextlib.closing(open_ledger(root, run)) as ledger:
        return side(run, ledger, int(number))


def _measure_missing(root: Path, first: "Side", second: "Side") -> "Side":
    """Measure the second trial on seeds of the first, as many as the rule has; returns it with them."""
    from experiments.analysis.comparison import missing, shared
    from experiments.run.run import reopen
    from experiments.trial.rerun import rerun

    wanted = missing(first, second)[: max(first.profile.tier.rule.seeds - len(shared(first, second)), 0)]

    def announce(number: int, title: str, stage: str) -> None:
        screen(stderr=True).print(Text(f"trial {number:04d}  {stage}  {one_line(title, 60)}"))

    if wanted:
        with contextlib.closing(reopen(root, second.run, announce)) as run:
            for measured in wanted:
                rerun(run, second.row.number, measured.seed, measured.data_seed)
    return _side(root, second.name, second.run)


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
    track: Annotated[
        str, typer.Option(help="a track of records/frontier.json; default: the trial's own, or track_10min_16mb")
    ] = "",
    root: Root = Path(),
) -> None:
    """Test seeds against the record. Example: python -m experiments verdict --bpb 1.0571 --bpb 1.0563 --bpb 1.0568

    A trial that was scored on another text than the challenge's is tested against its run's baseline on that text.
    """
    from preflight.records import frontier
    from preflight.records.folder import TEN_MINUTES

    console, values, lacking = screen(), list(bpb or []), ""
    if number is None:
        record = frontier.read(root / "records" / "frontier.json", track or TEN_MINUTES)
    else:
        record, measured, lacking = _measured_and_record(root, name, number, track)
        values += measured
    if not values:
        raise CaddieError("expected a measured trial or --bpb, got no number to judge")
    console.print(
        Text(f"record: {record.title}, {fmean(record.val_bpb):.5f} bpb on {len(record.seeds)} seeds"), soft_wrap=True
    )
    console.print(Text(f"        {record.source}"), soft_wrap=True)
    console.print(Text(f"new:    {fmean(values):.5f} bpb on {len(values)} seeds"))
    for tested in frontier.verdicts(values, record):
        missing = [lacking] if lacking else []
        met = not tested.missing and not missing
        console.print(Text(tested.summary(missing), "green" if met else "yellow"), soft_wrap=True)


def _measured_and_record(root: Path, run: str, number: int, track: str) -> tuple["Record", list[float], str]:
    """Return the record to beat on a trial's own text, the trial's bits per byte, and what its numbers lack."""
    from experiments.promotion.promotion import baseline_record
    from experiments.tiers import POCKET_TRACK
    from preflight.records import frontier
    from preflight.records.folder import CHALLENGE_TRACKS

    with contextlib.closing(open_ledger(root, run)) as ledger:
        profile, rows = profile_of(ledger), ledger.measurement_rows(number)
        own = profile.track if profile.track in CHALLENGE_TRACKS else POCKET_TRACK
        tier, lacking = profile.tier.name, "seeds of a promotion: these are from the search, which selects low values"
        if profile.record and any(row.tier == profile.record.name for row in rows):
            tier, lacking = profile.record.name, ""
        counted = [row for row in rows if row.tier == tier and (not lacking or row.fresh_for in (None, number))]
        values = [row.measured.val_bpb for row in counted]
        row = ledger.row(number)
        if not lacking and row.state is not State.KEPT:
            lacking = f"a kept trial: this one is {row.state}"
        if not lacking and row.trials_can_read_text:
            lacking = "a text that trials could not read"
        if (track or own) != POCKET_TRACK:
            if own == POCKET_TRACK:
                lacking = f"numbers on the challenge's validation text: run {run} scores another text"
            return frontier.read(root / "records" / "frontier.json", track or own), values, lacking
        start = ledger.baseline()
        measured = [row.measured for row in ledger.measurement_rows(start.number) if row.tier == tier] if start else []
        if start is None or not measured:
            raise CaddieError(f"run {run}: the baseline was not measured at tier {tier}; `promote` measures both sides")
        if len(measured) < 2:
            lacking = "a second seed of the baseline: one number has no spread"
        return baseline_record(run, start, profile.corpus, measured), values, lacking

"""The morning's commands: `log`, `compare`, `rerun`, `export`, `gc`, `finalize`, `adopt`."""

import csv
import json
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer
from rich.text import Text

from data.state import State
from experiments import branches, loop, sweep, view
from experiments.checkout import Checkout
from experiments.ledger import COLUMNS, Row
from experiments.proposal import by_of
from experiments.replicates import noise_floor
from experiments.rerun import rerun
from experiments.runs import Name, Root, open_ledger, profile_of
from experiments.standing import checked_name
from preflight.text import one_line

AsJson = Annotated[bool, typer.Option("--json", help="for a script")]
Run = Annotated[str, typer.Argument(help="the run", callback=checked_name)]


def command_log(
    name: Name = "demo",
    kind: Annotated[str, typer.Option("--class", help="only ideas of this class")] = "",
    kept: Annotated[bool, typer.Option("--kept", help="only what was kept")] = False,
    as_json: AsJson = False,
    root: Root = Path(),
) -> None:
    """Ideas and how they ended, newest first. Example: python -m experiments log --class optimiser --kept"""
    rows = [row for row in reversed(open_ledger(root, name).rows()) if not kind or row.kind == kind]
    rows = [row for row in rows if not kept or row.state in (State.KEPT, State.BASELINE)]
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    console = view.screen()
    for row in rows:
        value = f"{row.val_bpb:.4f} bpb" if row.val_bpb is not None else "no value"
        delta = f" ({row.delta_bpb:+.4f})" if row.delta_bpb is not None else ""
        delta += "" if row.valued or row.val_bpb is None else " when a limit ended it"
        who = f", by {one_line(by_of(row.proposal), 30)}" if by_of(row.proposal) else ""
        head = f"{row.number:04d}  {row.state}  {value}{delta}  {one_line(row.kind, 30)}{who}"
        console.print(Text(head, view.STYLES.get(row.state, "yellow")), soft_wrap=True)
        for line in filter(None, (row.title, row.hypothesis, row.detail)):
            console.print(Text(f"      {one_line(line, 400)}"), soft_wrap=True)


def command_compare(
    one: Annotated[int, typer.Argument(help="a trial")],
    other: Annotated[int, typer.Argument(help="another")],
    name: Name = "demo",
    as_json: AsJson = False,
    root: Root = Path(),
) -> None:
    """Two trials side by side: shared seeds, knobs, bytes, time. Example: python -m experiments compare 3 12"""
    ledger = open_ledger(root, name)
    tier, rows = profile_of(ledger).tier, (ledger.row(one), ledger.row(other))
    values = [
        {t.measured.seed: t.measured.val_bpb for t in ledger.taken(r.number) if t.tier == tier.name} for r in rows
    ]
    shared = [values[1][seed] - values[0][seed] for seed in values[0] if seed in values[1]]
    noise = noise_floor(ledger, tier)
    knobs = [json.loads(row.knobs or "{}") for row in rows]
    changed = {knob: [side.get(knob) for side in knobs] for knob in sorted({*knobs[0], *knobs[1]})}
    changed = {knob: sides for knob, sides in changed.items() if sides[0] != sides[1]}
    names = ("state", "val_bpb", "artifact_bytes", "train_seconds", "score_seconds", "net_code_lines")
    facts = {fact: [getattr(row, fact) for row in rows] for fact in names}
    if as_json:
        print(json.dumps({"trials": [one, other], **facts, "paired_differences_bpb": shared, "knobs": changed}))
        return
    console = view.screen()
    for label, sides in [("trial", [f"{row.number:04d} {one_line(row.title, 40)}" for row in rows]), *facts.items()]:
        shown = [f"{side:,.4f}" if isinstance(side, float) else str("-" if side is None else side) for side in sides]
        console.print(Text(f"{label:>16}  {shown[0]:<44}  {shown[1]}"), soft_wrap=True)
    for knob, sides in changed.items():
        console.print(
            Text(f"{one_line(knob, 30):>16}  {one_line(str(sides[0]), 40):<44}  {one_line(str(sides[1]), 40)}")
        )
    if shared:
        chance = noise.p_value(fmean(shared), len(shared))
        told = f"{other:04d} against {one:04d}: {fmean(shared):+.4f} bpb on {len(shared)} shared seeds"
        console.print(Text(f"{told} (one-sided p {chance:.3f}, noise {noise.difference_sd:.4f} a pair)", "bold"))
    else:
        console.print(
            Text("no seed was measured on both: their values are not comparable at the noise floor", "yellow")
        )


def command_rerun(
    number: Annotated[int, typer.Argument(help="a measured trial")],
    seed: Annotated[int | None, typer.Option(help="default: its first seed, which must give the same artifact")] = None,
    name: Name = "demo",
    root: Root = Path(),
) -> None:
    """Measure a trial once more; a note, which decides nothing. Example: python -m experiments rerun 12 --seed 7"""
    console = view.screen()

    def announce(_: int, title: str, stage: str) -> None:
        console.print(Text(f"{datetime.now():%H:%M:%S}  {stage}  {one_line(title, 60)}"))

    bench = loop.open_bench(root, name, open_ledger(root, name).fact("profile") or "", announce)
    try:
        found = rerun(bench, number, seed)
    finally:
        bench.close()
    told = f"seed {found.measured.seed}: {found.measured.val_bpb:.8f} bpb, {found.measured.artifact_bytes:,} bytes"
    if found.earlier:
        same = "the same artifact" if found.same_artifact else "another artifact"
        told += f"; before {found.earlier.val_bpb:.8f} bpb: {same}"
    console.print(Text(told), soft_wrap=True)


def command_export(
    name: Name = "demo",
    as_json: Annotated[bool, typer.Option("--json/--csv", help="which of the two")] = False,
    root: Root = Path(),
) -> None:
    """Every trial with every column, on stdout. Example: python -m experiments export --run night --csv > night.csv"""
    rows = open_ledger(root, name).rows()
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    writer = csv.DictWriter(sys.stdout, COLUMNS)
    writer.writeheader()
    writer.writerows(plain(row) for row in rows)


def plain(row: Row) -> dict[str, object]:
    """A row for a spreadsheet: a cell that begins like a formula is none."""
    return {name: cell(value) if isinstance(value, str) else value for name, value in asdict(row).items()}


def cell(text: str) -> str:
    shown = one_line(text, 10 * len(text) + 1)  # all of it, control characters as escapes
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown


def command_gc(
    name: Name = "demo",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
    root: Root = Path(),
) -> None:
    """Free the weights of trials that lost; no unpromoted winner's. Example: python -m experiments gc --dry-run"""
    root = root.resolve()
    ledger, freed, count = open_ledger(root, name), 0, 0
    for path in sweep.disposable(root / "trials" / name, ledger):
        freed, count = freed + path.stat().st_size, count + 1
        if not dry_run:
            path.unlink()
    what = "would be freed" if dry_run else "freed"
    view.screen().print(Text(f"{freed / 1e6:.1f} MB in {count} files {what}; ledger, commits, logs and bundles stay"))


def command_finalize(
    run: Run,
    onto: Annotated[str, typer.Option(help="the commit that the branch begins at")] = "HEAD",
    branch: Annotated[str, typer.Option(help="its name; default: finalize/RUN")] = "",
    root: Root = Path(),
) -> None:
    """A clean branch, one commit per kept change, for a pull request. Example: python -m experiments finalize night"""
    console, name = view.screen(), branch or f"finalize/{run}"
    for row in branches.finalize(Checkout(root.resolve(), run), open_ledger(root, run), onto, name):
        console.print(Text(f"{row.number:04d}  {row.delta_bpb or 0.0:+.4f}  {one_line(row.title, 80)}"))
    console.print(Text(f"branch {name}; git log -p {onto}..{name} shows it, git merge {name} takes it"), soft_wrap=True)


def command_adopt(
    number: Annotated[int, typer.Argument(help="a kept trial")], name: Name = "demo", root: Root = Path()
) -> None:
    """Bring a winner's base/ into this checkout and commit it. Example: python -m experiments adopt 12 --run night

    Renews the golden losses by training the new base/ inside the walls.
    """
    commit, note = branches.adopt(Checkout(root.resolve(), name), open_ledger(root, name), number)
    view.screen().print(Text(f"base/ is now that of trial {number:04d}: commit {commit[:10]}"), soft_wrap=True)
    if note:
        view.screen().print(Text(note, "yellow"), soft_wrap=True)

"""Commands that read a run: `status`, `log`, `show`, `artifact`, `diff`, `verdicts`, `export`."""

import csv
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from common.errors import CaddieError
from common.state import State
from common.text import one_line
from experiments.analysis.status import rerun_command
from experiments.cli import tables
from experiments.cli.console import STYLES, screen
from experiments.cli.options import AsJson, Name, Root
from experiments.ledger.rows import COLUMNS, MeasurementRow, Row, class_name, nested
from experiments.proposal.parts import by_of
from experiments.run.layout import measurement_folder, open_ledger


def status(
    name: Name = "demo",
    watch: Annotated[bool, typer.Option(help="update the table every second until Ctrl-C")] = False,
    whole: Annotated[bool, typer.Option("--all", help="every trial of a long run")] = False,
    as_json: AsJson = False,
    root: Root = Path(),
) -> None:
    """List a run's trials, also while it runs. Example: python -m experiments status --run demo --watch"""
    ledger = open_ledger(root, name)
    if as_json:
        best = ledger.incumbent()
        counts = Counter(str(row.state) for row in ledger.rows())
        incumbent = nested(asdict(best)) if best else None
        fields = {"run": name, "profile": ledger.fact("profile"), "incumbent": incumbent, "states": counts}
        print(json.dumps(fields))
        return
    console = screen()
    if watch:
        tables.watch(console, name, ledger)
    tables.summary(console, name, ledger, whole)


def log(
    name: Name = "demo",
    kind: Annotated[str, typer.Option("--class", help="only ideas of this class")] = "",
    kept: Annotated[bool, typer.Option("--kept", help="only the baseline and kept trials")] = False,
    as_json: AsJson = False,
    root: Root = Path(),
) -> None:
    """List ideas and their outcomes, newest first. Example: python -m experiments log --class optimizer --kept"""
    rows = [row for row in reversed(open_ledger(root, name).rows()) if not kind or row.kind == class_name(kind)]
    rows = [row for row in rows if not kept or row.state.is_kept]
    if as_json:
        print(json.dumps([nested(asdict(row)) for row in rows]))
        return
    text = Text()
    for row in rows:
        value = f"{row.val_bpb:.4f} bpb" if row.val_bpb is not None else "no value"
        delta = f" ({row.delta_bpb:+.4f})" if row.delta_bpb is not None else ""
        delta += "" if row.has_value or row.val_bpb is None else " when a limit ended it"
        author = f", by {one_line(by_of(row.proposal), 30)}" if by_of(row.proposal) else ""
        head = f"{row.number:04d}  {row.state}  {value}{delta}  {one_line(row.kind, 30)}{author}"
        text.append(f"{head}\n", STYLES.get(row.state, "yellow"))
        for line in filter(None, (row.title, row.hypothesis, row.detail)):
            text.append(f"      {one_line(line, 400)}\n")
    screen().print(text, soft_wrap=True, end="")


def show(
    number: int,
    name: Name = "demo",
    as_json: Annotated[bool, typer.Option("--json", help="print everything in the ledger as JSON")] = False,
    root: Root = Path(),
) -> None:
    """Show one trial in full, with the command that repeats it. Example: python -m experiments show 1"""
    console, ledger = screen(), open_ledger(root, name)
    row = ledger.row(number)
    if as_json:
        from experiments.ledger import mirror

        record = mirror.export(ledger, number)
        parsed = {table: [nested(each) for each in rows] for table, rows in record.items()}
        print(json.dumps({**parsed, "trials": [nested(asdict(row))]}))
        return
    measurements = ledger.measurement_rows(number)
    extra = [_describe(measurement) for measurement in measurements]
    if measurements:
        extra += [
            "measure it again, in the sandbox:",
            "  " + rerun_command(name, number, measurements[0].measured.seed),
        ]
    for seed, knobs, val_bpb, artifact_bytes in ledger.rescores(number):
        settings = ", ".join(f"{knob}={value}" for knob, value in knobs.items())
        extra.append(
            one_line(f"scored again, seed {seed}, {settings}: {val_bpb:.8f} bpb, {artifact_bytes:,} bytes", 300)
        )
    for change, values, verdict in ledger.ablations(number):
        extra.append(one_line(f"without {change}: {verdict or ', '.join(f'{value:+.4f}' for value in values)}", 300))
    extra += [f"note: {one_line(text, 2000)}" for text in ledger.remarks(number)]
    tables.detail(console, row, ledger.stages(number), extra)


def _describe(row: MeasurementRow) -> str:
    """Return a measurement in a line."""
    measured, audit = row.measured, row.measured.honesty
    purpose = f"fresh, for trial {row.fresh_for:04d}" if row.fresh_for is not None else row.tier
    unread = f"; {audit.unread_share:.0%} not audited" if audit.unread_share else ""
    return (
        f"seed {measured.seed} ({purpose}): {measured.val_bpb:.8f} bpb; "
        f"train {measured.train_cpu_seconds:.1f} CPU s, score {measured.score_cpu_seconds:.1f} CPU s; "
        f"artifact {measured.artifact_sha256[:16]}; "
        f"audit: {audit.tokens} losses scored twice, {audit.places} probe positions, "
        f"largest difference {audit.largest_difference_nats:.2g} nats, noise {audit.noise_nats:.2g}; "
        f"{measured.charge_bpb:.2g} bpb charged; score error at most {measured.honesty_bpb:.5f} bpb by a systematic "
        f"bias, {measured.rare_bpb:.3f} by sparse tampering on under {audit.rare_share:.1%} of tokens{unread}"
    )


def diff(
    number: int,
    other: Annotated[int | None, typer.Argument(help="a second trial: show what leads from the first to it")] = None,
    name: Name = "demo",
    root: Root = Path(),
) -> None:
    """Show what a trial changed in base/, or two trials' difference. Example: python -m experiments diff 1 7 | less"""
    ledger = open_ledger(root, name)
    from experiments.repo.workspace import Workspace

    rows = [ledger.row(trial) for trial in (number, other) if trial is not None]
    for row in rows:
        if not row.commit_id:
            raise CaddieError(f"trial {row.number} has no commit; its state is {row.state}")
    before = rows[0].parent if other is None else str(rows[0].commit_id)
    console = screen()
    for line in Workspace(root, name).diff(before, str(rows[-1].commit_id)).splitlines():
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        console.print(Text(one_line(line, 500), style), soft_wrap=True)


def verdicts() -> None:
    """Explain every state that a trial can be in. Example: python -m experiments verdicts"""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("state", no_wrap=True)
    shown.add_column("meaning")
    for state in State:
        shown.add_row(Text(state.value, STYLES.get(state, "")), Text(state.meaning))
    screen().print(shown)


def export(
    name: Name = "demo",
    as_json: Annotated[bool, typer.Option("--json/--csv", help="output format")] = False,
    root: Root = Path(),
) -> None:
    """Print every trial with every column. Example: python -m experiments export --run night --csv > night.csv"""
    rows = open_ledger(root, name).rows()
    if as_json:
        print(json.dumps([nested(asdict(row)) for row in rows], indent=1))
        return
    writer = csv.DictWriter(sys.stdout, COLUMNS)
    writer.writeheader()
    writer.writerows(plain(row) for row in rows)


def plain(row: Row) -> dict[str, object]:
    """Return a row for a spreadsheet, where text that begins like a formula is quoted."""
    return {name: cell(value) if isinstance(value, str) else value for name, value in asdict(row).items()}


def cell(text: str) -> str:
    """Return text for a spreadsheet cell, quoted if it begins like a formula."""
    shown = one_line(text, 10 * len(text) + 1)  # in full, control characters as escapes
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown


def artifact(
    number: Annotated[int, typer.Argument(help="a measured trial; 0 is the baseline")],
    name: Name = "demo",
    as_json: AsJson = False,
    root: Root = Path(),
) -> None:
    """List the tensors of a trial's artifact: bits, clipped share, error and bytes.

    Example: python -m experiments artifact 12

    `clipped` is the share of integers at an end of their grid. `error` is the squared error of a layer's outputs over
    their squares, weighted by its inputs, as the program states it. Arrays that are packed together share the bytes.
    """
    from experiments.analysis.artifact import read

    ledger = open_ledger(root, name)
    rows = [row for row in ledger.measurement_rows(number) if row.fresh_for in (None, number)]
    if not rows:
        raise CaddieError(f"trial {number} was never measured: there is no artifact")
    folders = [measurement_folder(ledger.path.parent, number, row) for row in rows]
    taken, folder = next(
        ((row, path) for row, path in zip(rows, folders, strict=True) if (path / "artifact.bin").exists()),
        (rows[0], folders[0]),
    )
    tensors = read(folder / "artifact.bin", folder / "weights.bin")
    measured, total = taken.measured, sum(tensor.size for tensor in tensors)
    if as_json:
        print(json.dumps({"bytes": total, "code_bytes": measured.code_bytes, "tensors": [*map(asdict, tensors)]}))
        return
    table = Table("tensor", *("values", "bits", "clipped", "error", "codec", "bytes", "bits/value"), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for tensor in tensors:
        table.add_row(
            Text(one_line(tensor.name, 60)),
            f"{tensor.values:,}" if tensor.values else "",
            "" if tensor.bits is None else str(tensor.bits),
            "" if tensor.clipped is None else f"{tensor.clipped:.2%}",
            "" if tensor.error is None else f"{tensor.error:.2e}",
            Text(one_line(tensor.codec, 10)),
            f"{tensor.size:,}",
            f"{tensor.bits_per_value:.2f}" if tensor.values else "",
        )
    console = screen()
    console.print(table)
    console.print(Text(f"model {total:,} bytes, code {measured.code_bytes:,}, together {measured.artifact_bytes:,}"))

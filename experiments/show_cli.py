"""`show` and `diff`: one trial in full, with the command that repeats it, and what it changed."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from data.errors import CaddieError
from experiments import mirror, view
from experiments.runs import Name, Root, open_ledger
from experiments.workspace import Workspace
from preflight.text import one_line


def show(
    number: int,
    name: Name = "demo",
    as_json: Annotated[bool, typer.Option("--json", help="all that the ledger knows, for a script")] = False,
    root: Root = Path(),
) -> None:
    """One trial in full, with the command that repeats it. Example: python -m experiments show 1"""
    console, ledger = view.screen(), open_ledger(root, name)
    row = ledger.row(number)
    if as_json:
        print(json.dumps(mirror.export(ledger, number)))
        return
    extra = []
    taken = ledger.taken(number)
    for one in taken:
        measured, proof = one.measured, one.measured.honesty
        why = f"fresh, for trial {one.fresh_for:04d}" if one.fresh_for is not None else one.tier
        extra.append(
            f"seed {measured.seed} ({why}): {measured.val_bpb:.8f} bpb; train {measured.train_cpu_seconds:.1f} CPU s, "
            f"score {measured.score_cpu_seconds:.1f} CPU s; artifact {measured.artifact_sha256[:16]}; proof: "
            f"{proof.tokens} losses read twice, {proof.places} distributions; largest difference "
            f"{proof.largest_difference_nats:.2g} nats, noise {proof.noise_nats:.2g}; {measured.charge_bpb:.2g} bpb "
            f"charged, off by at most {measured.honesty_bpb:.5f} bpb smoothly, {measured.rare_bpb:.3f} by a lie "
            f"on under {proof.rare_share:.1%} of tokens"
            + (f"; {proof.unread_share:.0%} unread" if proof.unread_share else "")
        )
    if taken:
        extra += ["again, inside the walls:", "  " + again(name, number, taken[0].measured.seed)]
    for seed, knobs, val_bpb, artifact_bytes in ledger.rescores(number):
        told = ", ".join(f"{knob}={value}" for knob, value in knobs.items())
        extra.append(one_line(f"scored again, seed {seed}, {told}: {val_bpb:.8f} bpb, {artifact_bytes:,} bytes", 300))
    for change, values, verdict in ledger.ablations(number):
        extra.append(one_line(f"without {change}: {verdict or ', '.join(f'{value:+.4f}' for value in values)}", 300))
    view.detail(console, row, ledger.stages(number), extra)


def diff(
    number: int,
    other: Annotated[int | None, typer.Argument(help="another trial: what leads from the first to this one")] = None,
    name: Name = "demo",
    root: Root = Path(),
) -> None:
    """What a trial changed in base/, or what lies between two. Example: python -m experiments diff 1 7 | less"""
    ledger = open_ledger(root, name)
    rows = [ledger.row(one) for one in (number, other) if one is not None]
    for row in rows:
        if not row.commit_id:
            raise CaddieError(f"trial {row.number} has no commit; its state is {row.state}")
    before = rows[0].parent if other is None else str(rows[0].commit_id)
    console = view.screen()
    for line in Workspace(root, name).diff(before, str(rows[-1].commit_id)).splitlines():
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        console.print(Text(one_line(line, 500), style), soft_wrap=True)


def again(run: str, number: int, seed: int) -> str:
    """The shell command that measures a trial once more with one seed, inside the walls like every measurement."""
    return f".venv/bin/python -m experiments rerun {number} --run {run} --seed {seed}"

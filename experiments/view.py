"""What a person sees: one table of trials, one line per stage, the next commands to type.

Everything that came from a proposal or a program is shown through `text.one_line` and as text, never as markup.
"""

import time
from collections.abc import Iterable

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from experiments.ledger import Row
from experiments.state import State
from preflight.text import one_line

STYLES = {State.KEPT: "green", State.BASELINE: "cyan", State.DISCARDED: "dim", State.DISHONEST: "bold red"}


class Progress:
    """A spinner with the running stage in a terminal, plain lines otherwise."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status: Status | None = None
        self.started = time.monotonic()

    def announce(self, number: int, title: str, stage: str) -> None:
        line = Text(f"trial {number:04d}  {stage:<9}  {one_line(title, 60)}")
        if not self.console.is_terminal:
            self.console.print(Text(f"[{time.monotonic() - self.started:6.1f} s] ") + line)
        elif self.status is None:
            self.status = self.console.status(line)
            self.status.start()
        else:
            self.status.update(line)

    def report(self, row: Row) -> None:
        """One settled trial."""
        numbers = f"{row.val_bpb:.4f} bpb" if row.val_bpb is not None else one_line(row.detail, 100)
        delta = f" ({row.delta_bpb:+.4f})" if row.delta_bpb is not None else ""
        verdict = Text(str(row.state), STYLES.get(row.state, "yellow"))
        self.console.print(
            Text(f"trial {row.number:04d}  ") + verdict + Text(f"  {one_line(row.title, 60)}: {numbers}{delta}")
        )

    def stop(self) -> None:
        if self.status is not None:
            self.status.stop()


def table(rows: Iterable[Row]) -> Table:
    """The run at a glance."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("trial", "title"):
        shown.add_column(name, overflow="fold" if name == "title" else "ellipsis")
    for name in ("val_bpb", "delta", "bytes", "train s", "score s", "honesty bound"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    for row in rows:
        cells = [
            _number(row.val_bpb, ".4f"),
            _number(row.delta_bpb, "+.4f"),
            _number(row.artifact_bytes, ",d"),
            _number(row.train_seconds, ".1f"),
            _number(row.score_seconds, ".1f"),
            f"±{row.honesty_bpb:.4f}/{row.rare_bpb:.3f}" if row.honesty_bpb is not None else "-",
        ]
        verdict = Text(str(row.state), STYLES.get(row.state, "yellow"))
        shown.add_row(f"{row.number:04d}", Text(one_line(row.title, 60)), *cells, verdict)
    return shown


def summary(console: Console, run: str, rows: list[Row]) -> None:
    """The table, what its bounds mean, and what to type next."""
    console.print(table(rows))
    proved = [row for row in rows if row.honesty_bpb is not None]
    if proved:
        console.print(
            Text(
                "honesty bound: how far val_bpb can be off (99 %) by a smooth lie / a rare one met at no tried place",
                "dim",
            )
        )
    if any(row.trials_can_read_text for row in rows):
        console.print(
            Text("this corpus is also readable by trials: scores show mechanics, not language modelling", "bold yellow")
        )
    levels = sorted({row.sandbox_level for row in rows})
    console.print(Text(f"sandbox level: {', '.join(levels)}", "dim"))
    best = next((row for row in reversed(rows) if row.state in (State.KEPT, State.BASELINE)), None)
    number = best.number if best else 0
    console.print(Text("next:", "bold"))
    for command in (
        f"git log --graph experiments/{run}/best",
        f".venv/bin/python -m experiments status --run {run}",
        f".venv/bin/python -m experiments show {number} --run {run}",
        f".venv/bin/python -m experiments diff {max(number, 1)} --run {run}",
        f"./loop.sh --trials 3 --run {run}",
    ):
        console.print(Text(f"  {command}"), soft_wrap=True)


def detail(console: Console, row: Row, stages: dict[str, float], extra: list[str]) -> None:
    """One trial in full."""
    facts = [
        ("trial", f"{row.number:04d}  {row.state}"),
        ("title", one_line(row.title, 200)),
        ("class", row.kind),
        ("hypothesis", one_line(row.hypothesis, 1000) or "-"),
        ("why", one_line(row.detail, 1000) or "-"),
        ("parent", row.parent),
        ("commit", row.commit_id or "-"),
        ("val_bpb", _number(row.val_bpb, ".8f") + "  delta " + _number(row.delta_bpb, "+.6f")),
        ("bytes", _number(row.artifact_bytes, ",d")),
        ("lines", f"+{row.lines_added or 0} -{row.lines_removed or 0}"),
        ("sandbox", row.sandbox_level + ("; trials can read the text" if row.trials_can_read_text else "")),
        ("stages", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items()) or "-"),
        ("when", f"{row.started_at} to {row.settled_at or 'now'}"),
    ]
    for name, value in facts:
        console.print(Text(f"{name:>11}  ", "bold") + Text(value), soft_wrap=True)
    for line in extra:
        console.print(Text(line), soft_wrap=True)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)

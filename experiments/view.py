"""What a person sees: one table of trials, one line per stage, the next commands to type.

Everything that came from a proposal or a program is shown through `text.one_line` and as text, never as markup.
"""

import contextlib
import errno
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.status import Status
from rich.table import Table
from rich.text import Text

from data.state import State
from experiments import budgets
from experiments.checkup import BAD, GOOD, NOTE, Line
from experiments.ledger import Row
from preflight.text import one_line

WATCH_SECONDS = 1.0
WIDE = 110  # columns of a screen that has room for the whole table
STYLES = {State.KEPT: "green", State.BASELINE: "cyan", State.DISCARDED: "dim", State.DISHONEST: "bold red"}


class Screen(Console):
    """A console that says when its reader has gone, where rich would end the program."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def screen() -> Screen:
    """Where commands print: a terminal's own width, and in a log none that would wrap a table."""
    made = Screen(highlight=False)
    if not made.is_terminal:
        made.width = 120
    return made


class Progress:
    """Where a run says what it does: a spinner in a terminal, lines elsewhere, and always the run's log file.

    The screen may go away in the night (a closed laptop, a lost connection); the file goes on.
    """

    def __init__(self, console: Console, log: TextIO) -> None:
        self.console: Console | None = console
        self.log = log
        self.status: Status | None = None

    def announce(self, number: int, title: str, stage: str) -> None:
        line = f"trial {number:04d}  {stage:<9}  {one_line(title, 60)}"
        if self.console and self.console.is_terminal:
            self._write(line)
            self._screen(lambda console: self._spin(console, Text(line)))
        else:
            self.say(line)

    def report(self, row: Row) -> None:
        """One settled trial."""
        numbers = f"{row.val_bpb:.4f} bpb" if row.val_bpb is not None and row.valued else one_line(row.detail, 300)
        delta = f" ({row.delta_bpb:+.4f})" if row.delta_bpb is not None and row.valued else ""
        style = STYLES.get(row.state, "yellow")
        self.say(f"trial {row.number:04d}  {row.state}  {one_line(row.title, 60)}: {numbers}{delta}", style)

    def say(self, line: str, style: str = "") -> None:
        """One line on the screen and in the log."""
        self._write(line)
        stamp = "" if self.console and self.console.is_terminal else f"{datetime.now():%H:%M:%S}  "
        self._screen(lambda console: console.print(Text(stamp) + Text(line, style), soft_wrap=True))

    def show(self, draw: Callable[[Console], None]) -> None:
        """Something larger, such as the table: on the screen, and in the log as text."""
        draw(Console(file=self.log, width=120))
        self.log.flush()
        self._screen(draw)

    def stop(self) -> None:
        if self.status is not None:
            self._screen(lambda _: self.status.stop() if self.status else None)

    def _spin(self, console: Console, line: Text) -> None:
        if self.status is None:
            self.status = console.status(line)
            self.status.start()
        self.status.update(line)

    def _write(self, line: str) -> None:
        print(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {line}", file=self.log, flush=True)

    def _screen(self, draw: Callable[[Console], None]) -> None:
        if self.console:
            try:
                draw(self.console)
            except OSError as error:
                self.console = self.status = None
                nowhere = os.open(os.devnull, os.O_RDWR)
                for stream in (1, 2):  # what Python still holds for the screen must not fail at the end
                    os.dup2(nowhere, stream)
                self._write(f"the screen is gone ({error.strerror}); this file goes on")


def table(rows: Iterable[Row], width: int, folded: bool = True) -> Table:
    """The run at a glance; a narrow screen gets fewer columns, and one line a trial where titles are not folded."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("trial")
    shown.add_column("title", min_width=24, no_wrap=not folded, overflow="fold" if folded else "ellipsis")
    wide = width >= WIDE
    for name in ("val_bpb", "delta", *(("bytes", "train s", "score s", "honesty bound") if wide else ())):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    for row in rows:
        cells = [_number(row.val_bpb, ".4f"), _number(row.delta_bpb, "+.4f")]
        if not row.valued:  # what a limit ended: the value it had by then, which counts for nothing
            cells = [f"({cell})" if cell != "-" else cell for cell in cells]
        if wide:
            cells += [
                _number(row.artifact_bytes, ",d"),
                _number(row.train_seconds, ".1f"),
                _number(row.score_seconds, ".1f"),
                f"±{row.honesty_bpb:.4f}/{row.rare_bpb:.3f}" if row.honesty_bpb is not None else "-",
            ]
        limit = f"\n{budgets.met(row)}" if folded and budgets.met(row) else ""
        verdict = Text(f"{row.state}{limit}", STYLES.get(row.state, "yellow"))
        shown.add_row(f"{row.number:04d}", Text(one_line(row.title, 60)), *cells, verdict)
    return shown


def summary(console: Console, run: str, rows: list[Row], outlook: list[str]) -> None:
    """The table, the night in a sentence, what it can show, what its bounds mean, and what to type next."""
    console.print(table(rows, console.width))
    console.print(Text(sentence(rows), "bold"))
    for line in outlook:
        console.print(Text(line, "dim"), soft_wrap=True)
    proved = [row for row in rows if row.honesty_bpb is not None]
    if proved:
        console.print(
            Text(
                "honesty bound: how far val_bpb can be off (99 %) by a smooth lie / by lies met at no tried place",
                "dim",
            )
        )
    if any(row.trials_can_read_text for row in rows):
        console.print(
            Text("this corpus is also readable by trials: scores show mechanics, not language modelling", "bold yellow")
        )
    levels = sorted({row.sandbox_level for row in rows})
    console.print(Text(f"sandbox level: {', '.join(levels)}", "dim"))
    best = incumbent(rows)
    number = best.number if best else 0
    console.print(Text("next:", "bold"))
    for command in (
        f"git log --graph experiments/{run}/best",
        f".venv/bin/python -m experiments status --run {run} --watch",
        f".venv/bin/python -m experiments show {number} --run {run}",
        f".venv/bin/python -m experiments diff {max(number, 1)} --run {run}",
        f"xdg-open trials/{run}/report/index.html",
        f"less trials/{run}/loop.log",
        f"./loop.sh --trials 3 --run {run}",
    ):
        console.print(Text(f"  {command}"), soft_wrap=True)


def sentence(rows: list[Row]) -> str:
    """How many of what, and how far: `12 trials: 2 kept, 9 discarded, 1 crash; 1.9354 to 1.9038 bpb (trial 0002)`."""
    counts = Counter(str(row.state) for row in rows if row.state is not State.BASELINE and row.state.finished)
    told = f"{counts.total()} trial{'s' * (counts.total() != 1)}" + (": " if counts else "")
    told += ", ".join(f"{count} {state}" for state, count in counts.most_common())
    first, best = next((row for row in rows if row.state is State.BASELINE), None), incumbent(rows)
    if first and best and first.val_bpb is not None and best.val_bpb is not None:
        told += f"; {first.val_bpb:.4f} to {best.val_bpb:.4f} bpb (trial {best.number:04d})"
    running = [row for row in rows if not row.state.finished]
    told += f"; trial {running[-1].number:04d} is at {running[-1].state}" if running else ""
    return told


def incumbent(rows: list[Row]) -> Row | None:
    return next((row for row in reversed(rows) if row.state in (State.KEPT, State.BASELINE)), None)


def told(console: Console, lines: Iterable[Line]) -> Iterator[Line]:
    """Doctor's lines as they come: green, yellow or red, and what to type."""
    marks = {GOOD: ("ok  ", "green"), NOTE: ("note", "yellow"), BAD: ("bad ", "bold red")}
    for line in lines:
        text = Text.assemble(marks[line.state], f"  {line.what:<11} {one_line(line.found, 200)}")
        console.print(text + Text(f"   (needed: {line.needed})", "dim"), soft_wrap=True)
        if line.type_this:
            console.print(Text(f"      type: {line.type_this}"), soft_wrap=True)
        yield line


def watch(console: Console, read: Callable[[], list[Row]]) -> None:
    """The table and its sentence, renewed until Ctrl-C; newest trials at the bottom, as many as the screen has room."""
    screen = Live(console=console, screen=console.is_terminal, auto_refresh=False)
    with contextlib.suppress(KeyboardInterrupt), screen as live:
        while True:
            rows = read()
            room = max(console.height - 6, 5)
            hidden = Text(f"… {len(rows) - room} earlier trials" if len(rows) > room else "", "dim")
            live.update(
                Group(hidden, table(rows[-room:], console.width, folded=False), Text(sentence(rows), "bold")),
                refresh=True,
            )
            time.sleep(WATCH_SECONDS)


def detail(console: Console, row: Row, stages: dict[str, float], extra: list[str]) -> None:
    """One trial in full."""
    facts = [
        ("trial", f"{row.number:04d}  {row.state}"),
        ("title", one_line(row.title, 200)),
        ("class", one_line(row.kind)),
        ("hypothesis", one_line(row.hypothesis, 1000) or "-"),
        ("why", one_line(row.detail, 1000) or "-"),
        ("parent", one_line(row.parent)),
        ("commit", one_line(row.commit_id or "-")),
        ("val_bpb", _number(row.val_bpb, ".8f") + "  delta " + _number(row.delta_bpb, "+.6f")),
        ("steps", _steps(row)),
        ("budgets", ", ".join(budgets.told(row)) or "-"),
        ("bytes", _number(row.artifact_bytes, ",d")),
        ("lines", f"+{row.lines_added or 0} -{row.lines_removed or 0}"),
        ("sandbox", one_line(row.sandbox_level) + ("; trials can read the text" if row.trials_can_read_text else "")),
        ("stages", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items()) or "-"),
        ("when", one_line(f"{row.started_at} to {row.settled_at or 'now'}")),
    ]
    for name, value in facts:
        console.print(Text(f"{name:>11}  ", "bold") + Text(value), soft_wrap=True)
    for line in extra:
        console.print(Text(line), soft_wrap=True)


def _steps(row: Row) -> str:
    return f"{row.steps}, at {row.step_cost:.2f} x the baseline's CPU per step" if row.steps else "the tier's"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)

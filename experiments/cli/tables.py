"""Tables and lines that several commands print: the trials of a run, one trial in full, doctor's results."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from common.state import State
from common.text import one_line
from experiments.analysis.status import latest_incumbent, summary_sentence
from experiments.cli.console import STYLES
from experiments.doctor.result import BAD, GOOD, NOTE, CheckResult
from experiments.ledger import usage
from experiments.ledger.rows import Row

WATCH_SECONDS = 1.0
NEWEST = 40  # trials of a run that the table shows, and those that were kept before
WIDE = 110  # terminal columns from which the whole table fits


def table(rows: Iterable[Row], width: int, folded: bool = True) -> Table:
    """Return the table of trials.

    Args:
        rows: The trials.
        width: Columns of the terminal; a narrow one gets fewer columns.
        folded: Wrap long titles; otherwise every trial takes one line.
    """
    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("trial")
    shown.add_column("title", min_width=24, no_wrap=not folded, overflow="fold" if folded else "ellipsis")
    wide = width >= WIDE
    for name in ("val_bpb", "delta", *(("bytes", "train s", "score s", "score error") if wide else ())):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    for row in rows:
        cells = [_number(row.val_bpb, ".4f"), _number(row.delta_bpb, "+.4f")]
        if not row.has_value:  # a limit ended it: the value that it had by then does not count
            cells = [f"({cell})" if cell != "-" else cell for cell in cells]
        if wide:
            cells += [
                _number(row.artifact_bytes, ",d"),
                _number(row.train_seconds, ".1f"),
                _number(row.score_seconds, ".1f"),
                f"±{row.honesty_bpb:.4f}/{row.rare_bpb:.3f}" if row.honesty_bpb is not None else "-",
            ]
        limit = f"\n{usage.exceeded_limit(row)}" if folded and usage.exceeded_limit(row) else ""
        verdict = Text(f"{row.state}{limit}", STYLES.get(row.state, "yellow"))
        shown.add_row(f"{row.number:04d}", Text(one_line(row.title, 60)), *cells, verdict)
    return shown


def summary(console: Console, run: str, rows: list[Row], status_lines: list[str], whole: bool = False) -> None:
    """Print the table, the run in a sentence, its status lines, the meaning of the columns, and what to type next.

    Of a long run, the table has the newest trials and all that were kept, unless it is to be `whole`.
    """
    shown = [row for row in rows[:-NEWEST] if whole or row.state in (State.KEPT, State.BASELINE)] + rows[-NEWEST:]
    console.print(table(shown, console.width))
    if len(shown) < len(rows):
        console.print(
            Text(f"… and {len(rows) - len(shown)} earlier trials that were not kept; --all shows them", "dim")
        )
    console.print(Text(summary_sentence(rows), "bold"))
    for line in status_lines:
        console.print(Text(line, "dim"), soft_wrap=True)
    if any(row.honesty_bpb is not None for row in rows):
        meaning = "by a systematic bias of the scorer / by sparse tampering at positions that were not probed"
        console.print(Text(f"score error: how far val_bpb can be off (99 % confidence), {meaning}", "dim"))
    if any(row.trials_can_read_text for row in rows):
        console.print(
            Text(
                "trials can read this corpus: scores show that the mechanics work, not how good the language model is",
                "bold yellow",
            )
        )
    levels = sorted({row.sandbox_level for row in rows})
    console.print(Text(f"sandbox level: {', '.join(levels)}", "dim"))
    best = latest_incumbent(rows)
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


def print_checks(console: Console, results: Iterable[CheckResult]) -> Iterator[CheckResult]:
    """Print doctor's results as they arrive, green, yellow or red, with the fix, and pass them on."""
    marks = {GOOD: ("ok  ", "green"), NOTE: ("note", "yellow"), BAD: ("bad ", "bold red")}
    for result in results:
        text = Text.assemble(marks[result.state], f"  {result.what:<11} {one_line(result.actual, 200)}")
        console.print(text + Text(f"   (needed: {result.expected})", "dim"), soft_wrap=True)
        if result.fix:
            console.print(Text(f"      type: {result.fix}"), soft_wrap=True)
        yield result


def watch(console: Console, read: Callable[[], list[Row]]) -> None:
    """Show the table and the summary sentence until Ctrl-C: the newest trials at the bottom, as many as fit."""
    screen = Live(console=console, screen=console.is_terminal, auto_refresh=False)
    with contextlib.suppress(KeyboardInterrupt), screen as live:
        while True:
            rows = read()
            fit = max(console.height - 6, 5)
            hidden = Text(f"… {len(rows) - fit} earlier trials" if len(rows) > fit else "", "dim")
            live.update(
                Group(hidden, table(rows[-fit:], console.width, folded=False), Text(summary_sentence(rows), "bold")),
                refresh=True,
            )
            time.sleep(WATCH_SECONDS)


def detail(console: Console, row: Row, stages: dict[str, float], extra: list[str]) -> None:
    """Print one trial in full."""
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
        ("budgets", ", ".join(usage.describe(row)) or "-"),
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

"""Tables and lines that several commands print: a run's trials, one trial in full, the live view, doctor's results."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from common.text import one_line
from experiments.analysis.gains import WHY, Gain, gains, total_sentence
from experiments.analysis.status import latest_incumbent, status_lines, summary_sentence
from experiments.cli.console import STYLES
from experiments.doctor.result import BAD, GOOD, NOTE, CheckResult
from experiments.ledger import usage
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.run.machine import profile_of

if TYPE_CHECKING:
    from experiments.analysis.now import Now

WATCH_SECONDS = 1.0
NEWEST = 40  # trials of a run that the table shows, and those that were kept before
WITH_ERROR, WIDE, WHOLE = 80, 110, 140  # columns of a terminal from which more of the table fits


def table(rows: Iterable[Row], width: int, paired: Mapping[int, Gain], folded: bool = True) -> Table:
    """Return the table of trials.

    Args:
        rows: The trials.
        width: Columns of the terminal; a narrow one gets fewer columns, and shorter titles, but whole numbers.
        paired: The paired difference of each trial that has one.
        folded: Wrap long titles; otherwise every trial takes one line.
    """
    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("trial", no_wrap=True, min_width=5)
    shown.add_column("title", min_width=8, no_wrap=not folded, overflow="fold" if folded else "ellipsis", ratio=1)
    lines = [_cells(row, width, paired.get(row.number), folded) for row in rows]
    names = (
        "val_bpb",
        "paired",
        *(("bytes", "train s", "score s") if width >= WIDE else ()),
        *(("score error",) if width >= WHOLE else ()),
        "verdict",
    )
    for at, name in enumerate(names, start=2):
        widest = max([len(name), *(cell_len(part) for line in lines for part in str(line[at]).split("\n"))])
        shown.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=True, min_width=widest)
    for line in lines:
        shown.add_row(*line)
    return shown


def _cells(row: Row, width: int, paired: Gain | None, folded: bool) -> list[str | Text]:
    """Return a trial's cells; values that do not count are in parentheses."""
    difference = "-" if paired is None else str(paired) if width >= WITH_ERROR else f"{paired.mean:+.4f}"
    cells = [_number(row.val_bpb, ".4f"), difference]
    if not row.has_value:  # a limit ended it: the value that it had by then does not count
        cells = [f"({cell})" if cell != "-" else cell for cell in cells]
    if width >= WIDE:
        cells += [
            _number(row.artifact_bytes, ",d"),
            _number(row.train_seconds, ".1f"),
            _number(row.score_seconds, ".1f"),
        ]
    if width >= WHOLE:
        cells.append(f"±{row.honesty_bpb:.4f}/{row.rare_bpb:.3f}" if row.honesty_bpb is not None else "-")
    limit = f"\n{usage.exceeded_limit(row)}" if folded and usage.exceeded_limit(row) else ""
    verdict = Text(f"{row.state}{limit}", STYLES.get(row.state, "yellow"))
    return [f"{row.number:04d}", Text(one_line(row.title, 60)), *cells, verdict]


def summary(console: Console, run: str, ledger: Ledger, whole: bool = False) -> None:
    """Print the table, the run in two sentences, its status lines, the meaning of the columns, and what to type next.

    Of a long run, the table has the newest trials and all that were kept, unless it is to be `whole`.
    """
    rows, profile = ledger.rows(), profile_of(ledger)
    shown = [row for row in rows[:-NEWEST] if whole or row.state.is_kept] + rows[-NEWEST:]
    paired = gains(ledger, profile.tier, shown)
    console.print(table(shown, console.width, paired))
    if len(shown) < len(rows):
        console.print(
            Text(f"… and {len(rows) - len(shown)} earlier trials that were not kept; --all shows them", "dim")
        )
    console.print(Text(total_sentence(ledger, profile.tier), "bold"))
    console.print(Text(summary_sentence(rows)))
    for line in status_lines(ledger, profile):
        console.print(Text(line, "dim"), soft_wrap=True)
    if paired:
        console.print(Text(WHY, "dim"))
    if console.width >= WHOLE and any(row.honesty_bpb is not None for row in rows):
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
        f"./loop.sh --run {run}",
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


def watch(console: Console, run: str, ledger: Ledger) -> None:
    """Show the run until Ctrl-C: its head, what runs now, and the newest trials, as many as fit."""
    screen = Live(console=console, screen=console.is_terminal, auto_refresh=False)
    with contextlib.suppress(KeyboardInterrupt), screen as live:
        while True:
            live.update(view(console, run, ledger), refresh=True)
            time.sleep(WATCH_SECONDS)


def view(console: Console, run: str, ledger: Ledger) -> RenderableType:
    """Return the screen at this moment, as high and as wide as the console."""
    from experiments.analysis.now import now  # it can read loss curves, which the table alone does not need

    profile, rows = profile_of(ledger), ledger.rows()
    head = [Text(line) for line in now_lines(now(run, ledger, profile))]
    foot = [Text(total_sentence(ledger, profile.tier), "bold"), Text(summary_sentence(rows), "dim")]
    used = sum(height(text, console.width) for text in (*head, *foot))
    fit = max(console.height - used - 3, 3)
    shown = rows[-fit:]
    hidden = [Text(f"… {len(rows) - fit} earlier trials", "dim")] if len(rows) > fit else []
    trials = table(shown, console.width, gains(ledger, profile.tier, shown), folded=False)
    return Group(*head, *hidden, trials, *foot)


def height(text: Text, width: int) -> int:
    """Return the lines that a text takes, at least: words that wrap may take one more."""
    return 1 + len(text.plain) // max(width - 8, 1)


def now_lines(state: "Now") -> list[str]:
    """Return what runs now, each fact complete or not at all."""
    head = f"{state.run}  {state.profile}  {state.order}" + (f"  {state.budget}" if state.budget else "")
    found = [head]
    if state.stage:
        found.append(f"trial {state.trial:04d}  {state.stage}  {state.title}")
    if state.step is not None:
        of = f" of {state.steps}" if state.steps else ""
        text = f"step {state.step}{of}, training loss {state.loss:.3f}"
        if state.reference_loss is not None:
            text += f" (the incumbent's {state.reference_loss:.3f})"
        found.append(text)
    if state.minutes_left is not None:
        found.append(f"about {state.minutes_left:.1f} min left of this measurement")
    found.append(f"proposer: {state.proposer}")
    return found

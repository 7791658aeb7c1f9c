"""Console output of the commands: a console, its styles, and the progress lines of a run.

Text from a proposal or a program passes through `text.one_line` and is shown as text, never as markup.
"""

import errno
import os
from collections.abc import Callable
from datetime import datetime
from typing import TextIO

from rich.console import Console
from rich.status import Status
from rich.text import Text

from common.state import State
from common.text import one_line
from experiments.ledger.rows import Row

STYLES = {
    State.KEPT: "green",
    State.KEPT_BY_PERSON: "green",
    State.BASELINE: "cyan",
    State.DISCARDED: "dim",
    State.DISHONEST: "bold red",
}


class Screen(Console):
    """A console that raises BrokenPipeError when its reader is gone, where rich would exit the program."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def screen(stderr: bool = False) -> Screen:
    """Return the console that commands print on: as wide as the terminal or, in a log, wide enough for a table."""
    console = Screen(highlight=False, stderr=stderr)
    if not console.is_terminal:
        console.width = 120
    return console


class Progress:
    """Progress messages of a run: a spinner in a terminal, lines elsewhere, and always the run's log file.

    The terminal may be closed during a run (a closed laptop, a lost connection); the log file continues.
    """

    def __init__(self, console: Console, log: TextIO) -> None:
        self.console: Console | None = console
        self.log = log
        self.status: Status | None = None

    def announce(self, number: int, title: str, stage: str) -> None:
        """Show the stage that a trial is in."""
        line = f"trial {number:04d}  {stage:<9}  {one_line(title, 60)}"
        if self.console and self.console.is_terminal:
            self._write(line)
            self._screen(lambda console: self._spin(console, Text(line)))
        else:
            self.say(line)

    def report(self, row: Row) -> None:
        """Show a settled trial."""
        numbers = f"{row.val_bpb:.4f} bpb" if row.val_bpb is not None and row.has_value else one_line(row.detail, 300)
        delta = f" ({row.delta_bpb:+.4f})" if row.delta_bpb is not None and row.has_value else ""
        style = STYLES.get(row.state, "yellow")
        self.say(f"trial {row.number:04d}  {row.state}  {one_line(row.title, 60)}: {numbers}{delta}", style)

    def say(self, line: str, style: str = "") -> None:
        """Write one line to the screen and the log."""
        self._write(line)
        stamp = "" if self.console and self.console.is_terminal else f"{datetime.now():%H:%M:%S}  "
        self._screen(lambda console: console.print(Text(stamp) + Text(line, style), soft_wrap=True))

    def show(self, draw: Callable[[Console], None]) -> None:
        """Draw something larger, such as the table, on the screen and, as text, in the log."""
        draw(Console(file=self.log, width=120))
        self.log.flush()
        self._screen(draw)

    def stop(self) -> None:
        """Stop the spinner."""
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
                null = os.open(os.devnull, os.O_RDWR)
                for stream in (1, 2):  # output that Python still buffers must not fail at exit
                    os.dup2(null, stream)
                self._write(f"the terminal was closed ({error.strerror}); this log continues")

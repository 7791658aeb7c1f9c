"""The commands of caddie; each explains itself with --help.

A command imports what it needs when it runs, so that `--help`, `status` and `log` answer at once.
"""

import contextlib
import signal
import sqlite3
import sys

import typer
from rich.text import Text

from common.errors import CaddieError, MachineError
from common.terminal import escape_unencodable_output
from common.text import one_line
from experiments import credentials
from experiments.cli import branches, calls, check, judging, repeat, report, results, run, steer, techniques
from experiments.cli.console import screen
from preflight.sandbox import process_tree

EXIT_NEEDS_PERSON, EXIT_TRY_LATER = 2, 75  # 75 is EX_TEMPFAIL of sysexits.h
COMMANDS = (
    *(run.run, results.status, run.doctor, run.restore, results.show, results.diff, check.check),
    *(techniques.toggles, repeat.rescore, judging.rejudge, judging.ablate, judging.verdict, branches.promote),
    *(results.log, judging.compare, repeat.rerun, results.export, run.gc, branches.finalize, branches.adopt),
    *(report.report, report.serve, results.artifact, calls.calls, results.verdicts, run.runs, run.rm),
    *(steer.try_, steer.queue, steer.seeds, steer.keep, steer.revert, steer.note, steer.branch, steer.from_),
)
app = typer.Typer(
    add_completion=False, no_args_is_help=True, help=(__doc__ or "").partition("\n")[0], pretty_exceptions_enable=False
)
for command in COMMANDS:
    app.command(command.__name__.rstrip("_"))(command)  # `try` and `from` are words of Python


def main() -> None:
    """Run a command; exit status 2: you must act (loop.sh does not start again), 75: the same may work later."""
    escape_unencodable_output()
    credentials.move_key_to_memfd([sys.executable, *sys.orig_argv[1:]])  # most commands run next to trials
    process_tree.set_undumpable()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill PID` acts like Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)  # even if the shell had it ignored
    try:
        app()
    except (CaddieError, OSError, sqlite3.Error) as error:
        with contextlib.suppress(OSError):  # the terminal may be what was closed
            screen().print(Text(one_line(str(error), 1000), "red"), soft_wrap=True)
        try_later = isinstance(error, MachineError) or not isinstance(error, CaddieError)
        raise SystemExit(EXIT_TRY_LATER if try_later else EXIT_NEEDS_PERSON) from error

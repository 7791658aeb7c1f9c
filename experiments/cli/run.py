"""Commands that start, check and maintain a run: `run`, `doctor`, `restore`, `gc`."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.text import Text

from common.errors import CaddieError
from common.text import one_line
from experiments.cli import tables
from experiments.cli.console import Progress, screen
from experiments.cli.options import Name, Root, takes
from experiments.cli.report import update_report
from experiments.run.layout import open_ledger
from experiments.run.request import RunRequest

if TYPE_CHECKING:
    from experiments.run.run import Run

EXIT_STOPPED = 130  # 128 + SIGINT, as in shells


@takes(RunRequest)
def run(request: RunRequest) -> None:
    """Measure the baseline, then try proposals until done. Example: python -m experiments run --trials 3

    The same --run continues where it stopped. Ctrl-C ends the running trial, records it and stops (exit 130). A file
    STOP stops the run after the trial and is then removed; if it holds names of runs, it stops only those. The
    output is also in trials/RUN/loop.log.
    """
    from experiments.analysis.status import status_lines
    from experiments.ledger.rows import Row
    from experiments.loop import controller
    from experiments.loop.background import BackgroundWorker
    from experiments.loop.push import Pusher
    from experiments.loop.recovery import settle_stopped
    from experiments.run.run import open_run

    root, name = request.root, request.run
    with logged(root, name) as log:
        progress = Progress(screen(), log)
        opened = open_run(root, name, request.profile, progress.announce, request.level, request.unsafe)
        greet(opened, request, progress)
        pages = BackgroundWorker("report", lambda: update_report(root, name), progress.say)
        workers = [pages, Pusher(opened, request.push, progress.say)] if request.push else [pages]

        def report(row: Row) -> None:
            progress.report(row)
            for worker in workers:
                worker.wake()

        status = 0
        try:
            reason = controller.run(opened, request, report, progress.say)
        except KeyboardInterrupt:
            settle_stopped(opened)
            reason, status = f"on request; ./loop.sh --run {name} continues it", EXIT_STOPPED
        finally:
            progress.stop()
            for worker in workers:
                worker.finish()
        progress.say(f"stopped: {reason}")
        lines = [*status_lines(opened.ledger, request.machine)]
        progress.show(
            lambda console: tables.summary(console, name, opened.ledger.rows(), lines, whole=not console.is_terminal)
        )
        opened.close()
    raise typer.Exit(status)


def greet(opened: "Run", request: RunRequest, progress: Progress) -> None:
    """Announce the run and check that it can push; raises CaddieError."""
    from experiments.repo.repository import SHALLOW

    progress.say(
        f"run {opened.name}: profile {opened.profile}, about {opened.tier.expected_minutes:g} minutes a measurement, "
        f"sandbox level {opened.level}, corpus {opened.corpus.manifest.source}"
    )
    if request.push and opened.workspace.is_shallow():
        raise CaddieError(f"--push: {SHALLOW}")
    if not opened.workspace.is_clean():
        progress.say("base/ has uncommitted changes; the run uses the committed tree", "yellow")


@contextmanager
def logged(root: Path, name: str) -> Iterator[TextIO]:
    """Open the run's log file, which also records how the controller ended if no one was watching."""
    path = root / "trials" / name / "loop.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        try:
            yield log
        except CaddieError as error:
            print(f"{datetime.now():%Y-%m-%d %H:%M:%S}  ended: {one_line(str(error), 1000)}", file=log)
            raise
        except Exception:
            print(f"{datetime.now():%Y-%m-%d %H:%M:%S}  crashed:\n{traceback.format_exc()}", file=log)
            raise


@takes(RunRequest)
def doctor(request: RunRequest) -> None:
    """Check that this machine is ready for a run; takes the options of `run`.

    Exit 0: all checks pass; 2: a line is red and says what to type.
    Example: python -m experiments doctor --profile h100
    """
    from experiments.doctor.checks import examine
    from experiments.doctor.result import BAD

    request.machine  # noqa: B018  an unknown profile is refused before the first line
    results = list(tables.print_checks(screen(), examine(request)))
    if bad := [result.what for result in results if result.state == BAD]:
        raise CaddieError(f"not ready: {', '.join(bad)}; nothing starts before these lines are good")


def restore(remote: str, run: str, root: Root = Path()) -> None:
    """Restore a pushed run on an empty machine. Example: python -m experiments restore backup night"""
    from experiments.ledger import mirror

    count, console = mirror.restore(root, run, remote), screen()
    console.print(Text(f"run {run}: {count} trials are restored; ./loop.sh --run {run} continues it"))
    tables.summary(console, run, open_ledger(root, run).rows(), [], whole=True)


def gc(
    name: Name = "demo",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show what would be freed")] = False,
    root: Root = Path(),
) -> None:
    """Delete weights, except those of keeps not yet promoted. Example: python -m experiments gc --dry-run"""
    from experiments.run.gc import disposable

    root = root.resolve()
    ledger, freed, count = open_ledger(root, name), 0, 0
    for path in disposable(root / "trials" / name, ledger):
        freed, count = freed + path.stat().st_size, count + 1
        if not dry_run:
            path.unlink()
    what = "would be freed" if dry_run else "freed"
    screen().print(Text(f"{freed / 1e6:.1f} MB in {count} files {what}; ledger, commits, logs and bundles stay"))

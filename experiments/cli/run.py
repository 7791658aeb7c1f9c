"""Commands that start, check, list and maintain runs: `run`, `doctor`, `restore`, `runs`, `rm`, `gc`."""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.table import Table
from rich.text import Text

from common.errors import CaddieError
from common.text import one_line
from experiments.cli import tables
from experiments.cli.console import Progress, screen
from experiments.cli.options import AsJson, Name, Root, RunArgument, takes
from experiments.cli.report import update_index, update_report
from experiments.run.layout import open_ledger
from experiments.run.request import RunRequest

if TYPE_CHECKING:
    from experiments.run.run import Run

EXIT_STOPPED = 130  # 128 + SIGINT, as in shells


@takes(RunRequest)
def run(request: RunRequest) -> None:
    """Measure the baseline, then try proposals until done. Example: python -m experiments run --trials 3

    The same --run continues where it stopped, with the options that it had; what you type replaces them. Ctrl-C ends
    the running trial, records it and stops (exit 130). A file STOP stops the run after the trial and is then removed;
    if it holds names of runs, it stops only those. The output is also in trials/RUN/loop.log.
    """
    from experiments.ledger.rows import Row
    from experiments.loop import controller
    from experiments.loop.background import BackgroundWorker
    from experiments.loop.push import Pusher
    from experiments.loop.recovery import settle_stopped
    from experiments.run import consistency, session
    from experiments.run.run import open_run

    root, name, request = request.root, request.run, request.with_remembered()
    with logged(root, name) as log:
        progress = Progress(screen(), log)
        wanted = request.machine if request.recorded is None else None
        opened = open_run(root, name, request.profile, progress.announce, request.level, request.unsafe, wanted)
        greet(opened, request, progress)
        request.remember(opened.ledger)
        pages = BackgroundWorker("report", lambda: update_report(root, name), progress.say)
        moved = consistency.base_moved(opened.workspace, opened.ledger)
        if moved:
            progress.say(moved, "yellow")
        workers = [pages, Pusher(opened, request.push, progress.say)] if request.push else [pages]

        def report(row: Row) -> None:
            progress.report(row)
            nonlocal moved
            if (line := consistency.base_moved(opened.workspace, opened.ledger)) != moved:
                progress.say(moved := line, "yellow")
            for worker in workers:
                worker.wake()

        status = 0
        try:
            reason = controller.run(opened, request, report, progress.say)
        except KeyboardInterrupt:
            settle_stopped(opened)
            reason, status = "on request", EXIT_STOPPED
        finally:
            progress.stop()
            for worker in workers:
                worker.finish()
        left = session.left(opened.ledger, request.trials, request.hours)
        progress.say(f"stopped: {reason}" + (f"; ./loop.sh --run {name} goes on with it: {left}" if left else ""))
        progress.show(lambda console: tables.summary(console, name, opened.ledger, whole=not console.is_terminal))
        opened.close()
    update_index(root)  # the run no longer runs
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
def doctor(
    request: RunRequest,
    dry: Annotated[
        bool, typer.Option("--dry", help="check a profile of another machine: no GPU is needed here")
    ] = False,
) -> None:
    """Check that this machine is ready for a run; takes the options of `run`.

    Exit 0: all checks pass; 2: a line is red and says what to type.
    Example: python -m experiments doctor --profile h100
    """
    from experiments.doctor.checks import examine
    from experiments.doctor.result import BAD

    request = replace(request.with_remembered(), elsewhere=dry)
    request.machine  # noqa: B018  an unknown profile is refused before the first line
    results = list(tables.print_checks(screen(), examine(request)))
    if bad := [result.what for result in results if result.state == BAD]:
        raise CaddieError(f"not ready: {', '.join(bad)}; nothing starts before these lines are good")


def restore(remote: str, run: str, root: Root = Path()) -> None:
    """Restore a pushed run on an empty machine. Example: python -m experiments restore backup night"""
    from experiments.ledger import mirror
    from experiments.repo.repository import without_credentials

    count, console = mirror.restore(root, run, remote), screen()
    command = f"./loop.sh --run {run} --push {without_credentials(remote)}"
    console.print(Text(f"run {run}: {count} trials are restored; {command} continues it"), soft_wrap=True)
    tables.summary(console, run, open_ledger(root, run), whole=True)


def runs(as_json: AsJson = False, root: Root = Path()) -> None:
    """List all runs, the newest first: trials, gain, cost, room on disk. Example: python -m experiments runs"""
    from experiments.analysis.overview import disk_bytes, overviews

    found = list(overviews(root))
    room = {each.name: disk_bytes(root.resolve() / "trials" / each.name) for each in found}
    if as_json:
        print(json.dumps([{**asdict(each), "disk_bytes": room[each.name]} for each in found]))
        return
    if not found:
        screen().print(Text("no run yet: ./loop.sh starts one"))
        return
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("run", "profile", "state", "trials", "kept", "gain", "spent", "disk", "last trial"):
        shown.add_column(name, no_wrap=name != "gain")
    for each in found:
        gain = each.problem or (f"{each.gain.mean:+.4f} ±{each.gain.error:.4f}" if each.gain else "-")
        state = "running" if each.running else "unreadable" if each.problem else "stopped"
        counts = (str(each.trials), str(each.kept), Text(gain), f"${each.dollars:.2f}")
        shown.add_row(each.name, each.profile, state, *counts, f"{room[each.name] / 1e6:,.0f} MB", each.last_at[:16])
    screen().print(shown)


def rm(
    run: RunArgument,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    root: Root = Path(),
) -> None:
    """Delete a run: its folder, branches and refs. Example: python -m experiments rm night

    Record folders, what `finalize` and `adopt` made, and what was pushed stay.
    """
    from experiments.repo.workspace import Workspace
    from experiments.run.remove import remove

    folder, workspace = root.resolve() / "trials" / run, Workspace(root.resolve(), run)
    refs = workspace.run_refs()
    if not folder.is_dir() and not refs:
        raise CaddieError(f"no run {run!r}: there is neither {folder} nor a branch of it")
    if not yes:
        typer.confirm(f"delete {folder} and {len(refs)} branches and refs of run {run}?", abort=True)
    freed = remove(workspace, folder)
    screen().print(Text(f"run {run} is deleted: {freed / 1e6:.1f} MB, {len(refs)} branches and refs"))


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

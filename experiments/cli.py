"""Every command a person uses; `python -m experiments` lists them."""

import contextlib
import json
import shlex
import signal
import sqlite3
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.text import Text

from data.errors import CaddieError, MachineError
from data.terminal import show_anything
from experiments import (
    after_cli,
    calls_cli,
    check_cli,
    judge_cli,
    key,
    loop,
    mirror,
    promote_cli,
    report_cli,
    rescore_cli,
    show_cli,
    stop,
    view,
)
from experiments.asking import PROPOSERS
from experiments.beside import Beside
from experiments.checkup import BAD, Order
from experiments.doctor import examine
from experiments.ledger import Row
from experiments.outlook import outlook
from experiments.push import Pusher
from experiments.runs import Name, Root, open_ledger, profile_of
from experiments.tiers import PROFILES
from experiments.toggle_cli import toggles
from experiments.workspace import SHALLOW
from preflight.sandbox import process_tree
from preflight.text import one_line

EXIT_PERSON, EXIT_LATER, EXIT_STOPPED = 2, 75, 130  # EX_TEMPFAIL; 128 + SIGINT, as shells have it
app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
console = view.screen()


@app.command()
def run(
    trials: Annotated[int, typer.Option(min=0, help="stop after this many settled trials")] = 3,
    hours: Annotated[float, typer.Option(min=0.0, help="stop after this many hours")] = 12.0,
    name: Name = "demo",
    profile: Annotated[str, typer.Option(help="the machine: " + ", ".join(PROFILES))] = "pocket",
    proposer: Annotated[str, typer.Option(help="who proposes: " + ", ".join(PROPOSERS))] = "auto",
    script: Annotated[Path | None, typer.Option(help="scripted: folder of proposals to replay")] = None,
    joint: Annotated[bool, typer.Option(help="search: up to six knobs at once, width, depth and bits too")] = False,
    command: Annotated[str, typer.Option(help="command: the program that proposes, with its arguments")] = "",
    show_paths: Annotated[list[Path] | None, typer.Option("--show", help="command: a path it may read")] = None,
    passed: Annotated[list[str] | None, typer.Option("--pass", help="command: a variable it gets")] = None,
    model: Annotated[str, typer.Option(help="anthropic: another model than the default")] = "",
    effort: Annotated[str, typer.Option(help="anthropic: low, medium, high, xhigh or max")] = "",
    budget_usd: Annotated[float | None, typer.Option(min=0.0, help="most that calls and machine may cost")] = None,
    push: Annotated[str, typer.Option(help="git remote (name or URL) that gets every result")] = "",
    level: Annotated[str | None, typer.Option(help="sandbox level; default: the best this machine offers")] = None,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="a GPU run on walls that leave more than the goal")] = False,
    session: Annotated[str, typer.Option(hidden=True, help="set by loop.sh: restarts of one call share it")] = "",
    root: Root = Path(),
) -> None:
    """Measure the baseline, then try proposals until done. Example: python -m experiments run --trials 3

    The same --run goes on where it ended. Ctrl-C ends the running trial, books it and stops (exit 130); a file STOP
    stops after the trial and is removed; one that holds names of runs is for those alone. trials/RUN/loop.log keeps
    what the screen showed.
    """
    with logged(root, name) as log:
        progress = view.Progress(console, log)
        bench = loop.open_bench(root, name, profile, progress.announce, level, unsafe)
        progress.say(
            f"run {name}: profile {profile}, about {bench.tier.expected_minutes:g} minutes a measurement, "
            f"sandbox level {bench.level}, corpus {bench.corpus.manifest.source}"
        )
        if push and bench.workspace.is_shallow():
            raise CaddieError(f"--push: {SHALLOW}")
        if not bench.workspace.is_clean():
            progress.say("base/ has changes that are not committed; the run uses the committed tree", "yellow")
        arguments = ["--joint"] if joint else []
        arguments += ["--script", str(script)] if script else []
        arguments += ["--command", command] if command else []
        arguments += [part for path in show_paths or () for part in ("--show", str(path))]
        arguments += [part for variable in passed or () for part in ("--pass", variable)]
        arguments += ["--model", model] if model else []
        arguments += ["--effort", effort] if effort else []
        arguments += ["--budget-usd", str(budget_usd)] if budget_usd is not None else []
        pages = Beside("report", lambda: report_cli.renew(root, name), progress.say)
        beside = [pages, Pusher(bench, push, progress.say)] if push else [pages]

        def report(row: Row) -> None:
            progress.report(row)
            for work in beside:
                work.wake()

        status = 0
        try:
            reason = loop.run(
                bench,
                proposer,
                trials,
                hours,
                report,
                tuple(arguments),
                root / stop.NAME,
                progress.say,
                session,
                budget_usd,
            )
        except KeyboardInterrupt:
            loop.stopped(bench)
            reason, status = f"a person asked for it; ./loop.sh --run {name} goes on", EXIT_STOPPED
        finally:
            progress.stop()
            for work in beside:
                work.finish()
        progress.say(f"stopped: {reason}")
        told = [*outlook(bench.ledger, PROFILES[profile])]
        progress.show(lambda console: view.summary(console, name, bench.ledger.rows(), told))
        bench.close()
    raise typer.Exit(status)


@contextmanager
def logged(root: Path, name: str) -> Iterator[TextIO]:
    """The run's log file, which also keeps how the controller ended when nobody was looking."""
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


@app.command()
def status(
    name: Name = "demo",
    watch: Annotated[bool, typer.Option(help="renew the table every second until Ctrl-C")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for a script")] = False,
    root: Root = Path(),
) -> None:
    """All trials of a run, also while it runs. Example: python -m experiments status --run demo --watch"""
    ledger = open_ledger(root, name)
    if as_json:
        best = ledger.incumbent()
        counts = Counter(str(row.state) for row in ledger.rows())
        told = {"run": name, "profile": ledger.fact("profile"), "incumbent": best and asdict(best), "states": counts}
        print(json.dumps(told))
        return
    if watch:
        view.watch(console, ledger.rows)
    view.summary(console, name, ledger.rows(), [*outlook(ledger, profile_of(ledger))])


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def doctor(
    trials: Annotated[int, typer.Option(min=0)] = 3,
    hours: Annotated[float, typer.Option(min=0.0)] = 12.0,
    name: Name = "demo",
    profile: Annotated[str, typer.Option(help="the machine: " + ", ".join(PROFILES))] = "pocket",
    proposer: Annotated[str, typer.Option()] = "auto",
    script: Annotated[Path | None, typer.Option()] = None,
    command: Annotated[str, typer.Option()] = "",
    show_paths: Annotated[list[Path] | None, typer.Option("--show")] = None,
    passed: Annotated[list[str] | None, typer.Option("--pass")] = None,
    model: Annotated[str, typer.Option()] = "",
    budget_usd: Annotated[float | None, typer.Option(min=0.0)] = None,
    push: Annotated[str, typer.Option()] = "",
    level: Annotated[str | None, typer.Option()] = None,
    unsafe: Annotated[bool, typer.Option("--unsafe")] = False,
    root: Root = Path(),
) -> None:
    """Whether this machine is ready for a night, line by line; takes the options of `run`.

    Exit 0: all is good; 2: a line is red, and says what to type. Example: python -m experiments doctor --profile h100
    """
    if profile not in PROFILES:
        raise CaddieError(f"got profile {profile!r}, expected one of {', '.join(PROFILES)}")
    machine, program = PROFILES[profile], tuple(shlex.split(command))
    order = Order(
        root, name, profile, machine, proposer, program, push, trials, hours, level, model, budget_usd, unsafe,
        tuple(show_paths or ()), tuple(passed or ()), script,
    )  # fmt: skip
    lines = list(view.told(console, examine(order)))
    if bad := [line.what for line in lines if line.state == BAD]:
        raise CaddieError(f"not ready: {', '.join(bad)}; nothing starts before these lines are good")


@app.command()
def restore(remote: str, run: str, root: Root = Path()) -> None:
    """Bring a pushed run back on an empty machine. Example: python -m experiments restore backup night"""
    count = mirror.restore(root, run, remote)
    console.print(Text(f"run {run}: {count} trials are back; ./loop.sh --run {run} goes on"))
    view.summary(console, run, open_ledger(root, run).rows(), [])


app.command()(show_cli.show)
app.command()(show_cli.diff)
app.command("check")(check_cli.command)
app.command()(toggles)
app.command("rescore")(rescore_cli.command)
app.command("rejudge")(judge_cli.command_rejudge)
app.command("ablate")(judge_cli.command_ablate)
app.command("verdict")(judge_cli.command_verdict)
app.command("promote")(promote_cli.command)
app.command("log")(after_cli.command_log)
app.command("compare")(after_cli.command_compare)
app.command("rerun")(after_cli.command_rerun)
app.command("export")(after_cli.command_export)
app.command("gc")(after_cli.command_gc)
app.command("finalize")(after_cli.command_finalize)
app.command("adopt")(after_cli.command_adopt)
app.command("report")(report_cli.command)
app.command("calls")(calls_cli.command)


def main() -> None:
    """Exit status 2: a person must act (loop.sh does not start again); 75: the same may work later."""
    show_anything()
    key.hide([sys.executable, *sys.orig_argv[1:]])  # most commands live beside trials: no key in their environment
    process_tree.unreadable()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # kill PID is Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell had it ignored
    try:
        app()
    except (CaddieError, OSError, sqlite3.Error) as error:
        with contextlib.suppress(OSError):  # the screen may be what has gone
            console.print(Text(one_line(str(error), 1000), "red"), soft_wrap=True)
        later = isinstance(error, MachineError) or not isinstance(error, CaddieError)
        raise SystemExit(EXIT_LATER if later else EXIT_PERSON) from error

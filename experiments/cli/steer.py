"""Commands with which a person steers a run: `try`, `queue`, `seeds`, `keep`, `revert`, `note`, `from`.

Each is a request in the run's ledger. If a controller works on the run, it carries the request out after the trial
that is running; otherwise the command does so itself.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from common import lock
from common.errors import CaddieError
from common.text import one_line
from experiments.cli.console import Progress, screen
from experiments.cli.options import Name, Root, RunArgument
from experiments.cli.report import update_report
from experiments.cli.run import EXIT_STOPPED, logged
from experiments.ledger.requests import DROPPED, Action, Request
from experiments.ledger.store import contains_run
from experiments.run.layout import ledger_path, open_ledger

if TYPE_CHECKING:
    from experiments.proposal.schema import Proposal
    from experiments.repo.workspace import Workspace

Title = Annotated[str, typer.Option(help="default: the commit's subject, or the name of the file or folder")]
Class = Annotated[str, typer.Option("--class", help="architecture, optimizer, …; default: by the folders it changes")]
Reason = Annotated[str, typer.Option("--why", help="the reason, for whoever reads the run later")]


def try_(
    change: Annotated[str, typer.Argument(help="a branch or commit, a patch file, a folder, a proposal's JSON")] = ".",
    name: Name = "demo",
    title: Title = "",
    kind: Class = "",
    root: Root = Path(),
) -> None:
    """Measure your own change to base/ as a trial like any other. Example: python -m experiments try my-branch

    Without an argument, it tries base/ as it is in this checkout, uncommitted changes included. The change is applied
    to the run's incumbent, so it may be based on an older commit. A run that does not exist yet is begun.
    """
    _ask(root, name, "try", None, _proposal(root, name, change, title, kind))


def queue(
    changes: Annotated[list[str] | None, typer.Argument(help="as in `try`; none lists what waits")] = None,
    name: Name = "demo",
    kind: Class = "",
    drop: Annotated[int | None, typer.Option(help="take a request out of the queue, by its number")] = None,
    root: Root = Path(),
) -> None:
    """Queue your own changes, to be tried next. Example: python -m experiments queue a.patch b.patch my-branch"""
    console = screen()
    for change in changes or []:
        number = open_ledger(root, name).add_request("try", None, _proposal(root, name, change, "", kind))
        console.print(Text(f"{number}: {change} is next for run {name}, after what waits already"))
    ledger = open_ledger(root, name)
    if drop is not None:
        if drop not in [request.number for request in ledger.requests() if not request.outcome]:
            raise CaddieError(f"no request {drop} waits; `queue` lists those that do")
        ledger.finish_request(drop, DROPPED)
    if not changes:
        for request in ledger.requests():
            console.print(Text(f"{request.number:>4}  {describe(request)}: {request.outcome or 'waits'}"))
        console.print(Text(f"./loop.sh --run {name} tries what waits before anything else"))


def seeds(
    number: Annotated[int, typer.Argument(help="a measured trial")],
    count: Annotated[str, typer.Argument(metavar="+K", help="so many more fresh seeds")] = "+2",
    name: Name = "demo",
    root: Root = Path(),
) -> None:
    """Measure a trial and its incumbent on more seeds, and judge it again. Example: python -m experiments seeds 7 +4

    The verdict counts all fresh seeds of the trial. It may keep a discarded trial or revert a kept one.
    """
    if not count.lstrip("+").isdecimal() or not 1 <= int(count) <= 20:
        raise CaddieError(f"got {one_line(count, 20)!r}, expected a number of seeds from +1 to +20")
    _ask(root, name, "seeds", _trial(root, name, number), str(int(count)))


def keep(number: int, name: Name = "demo", why: Reason = "", root: Root = Path()) -> None:
    """Make a trial the incumbent, by your decision. Example: python -m experiments keep 7 --why "needed for the next"

    It is measured on fresh seeds first, if it has none. The trial reads `kept (person)`; nothing counts it as a keep of
    the judge's, and it cannot become a record.
    """
    _ask(root, name, "keep", _trial(root, name, number), why)


def revert(number: int, name: Name = "demo", why: Reason = "", root: Root = Path()) -> None:
    """Take the incumbent back, by your decision. Example: python -m experiments revert 7 --why "too slow to use" """
    _ask(root, name, "revert", _trial(root, name, number), why)


def note(number: int, text: str, name: Name = "demo", root: Root = Path()) -> None:
    """Write a remark on a trial, which `show` and the report repeat. Example: python -m experiments note 7 "again" """
    open_ledger(root, name).add_remark(_trial(root, name, number), one_line(text, 2000))
    screen().print(Text(f"noted on trial {number:04d}"))


def branch(number: int, name: Name = "demo", root: Root = Path()) -> None:
    """Give any trial a branch, as kept ones have. Example: python -m experiments branch 7 --run night"""
    from experiments.repo.workspace import Workspace

    made = Workspace(root.resolve(), name).show_branch(number)
    screen().print(Text(f"branch {made}: git show {made}; git branch -D {made} removes it"))


def from_(
    number: Annotated[int, typer.Argument(help="a trial of the old run")],
    new: RunArgument,
    name: Name = "demo",
    root: Root = Path(),
) -> None:
    """Begin another run at a trial of this one. Example: python -m experiments from 7 second-night --run night"""
    from experiments.run.run import begin_at

    begin_at(root, name, number, new)
    screen().print(Text(f"run {new} begins at trial {number:04d} of run {name}: ./loop.sh --run {new}"))


def describe(request: Request) -> str:
    """Return a request in a few words."""
    from experiments.proposal.parts import title_of

    if request.action == "try":
        return f"try {one_line(title_of(request.argument), 80)}"
    about = f"{request.action} {request.trial:04d}"
    return f"{about} +{request.argument}" if request.action == "seeds" else about


def _trial(root: Path, name: str, number: int) -> int:
    return open_ledger(root, name).row(number).number


def try_knobs(root: Path, name: str, number: int, values: dict[str, str]) -> None:
    """Try other knobs of the incumbent, trial `number`, as a trial; those after training are judged on its weights."""
    from experiments.proposal.by_person import from_tree
    from experiments.proposal.knob_edits import with_values
    from experiments.repo.workspace import Workspace
    from experiments.run.machine import profile_of

    workspace, ledger = Workspace(root.resolve(), name), open_ledger(root, name)
    incumbent = ledger.incumbent()
    if incumbent is None or incumbent.number != number:
        now = f"{incumbent.number:04d}" if incumbent else "none yet"
        raise CaddieError(f"got trial {number:04d}, expected the incumbent, {now}: only what beats it can be kept")
    parent, preset = workspace.best(), profile_of(ledger).tier.target.preset
    tree = with_values(workspace.read(parent), preset, values)
    title = "evaluate with " + ", ".join(f"{knob}={value}" for knob, value in values.items())
    proposal = from_tree(workspace, tree, parent, title, "evaluation")
    _ask(root, name, "try", None, _checked(root, name, workspace, proposal, parent))


def _proposal(root: Path, name: str, change: str, title: str, kind: str) -> str:
    """Return a person's change as a proposal against the incumbent, after every check that costs no compute."""
    from experiments.proposal.by_person import from_change
    from experiments.repo.workspace import Workspace

    workspace = Workspace(root.resolve(), name)
    parent = workspace.best() if contains_run(ledger_path(root, name)) else workspace.head()
    return _checked(root, name, workspace, from_change(workspace, change, parent, title, kind), parent)


def _checked(root: Path, name: str, workspace: "Workspace", proposal: "Proposal", parent: str) -> str:
    from experiments.proposal.gate import Change, gates

    has_run = contains_run(ledger_path(root, name))
    made = Change.make(proposal, workspace.read(parent))
    for _ in gates(made, open_ledger(root, name).rows() if has_run else []):
        pass
    screen().print(
        Text(f"{one_line(proposal.title, 80)} ({proposal.kind}): +{made.lines_added} -{made.lines_removed} lines")
    )
    return proposal.to_json()


def _ask(root: Path, name: str, action: Action, trial: int | None, argument: str) -> None:
    """Record a request, and carry it out unless a controller is at work that will."""
    path = ledger_path(root, name)
    if contains_run(path):
        if (free := lock.acquire(path.with_name("lock"))) is None:
            number = open_ledger(root, name).add_request(action, trial, argument)
            holder = lock.holder(path.with_name("lock"))
            text = (
                f"run {name} is in use by {holder}: request {number} waits. A loop carries it out after the running "
                f"trial, else the next ./loop.sh --run {name} does; `queue --run {name}` lists it"
            )
            screen().print(Text(text), soft_wrap=True)
            return
        free.close()
    _carry_out(root, name, action, trial, argument)


def _carry_out(root: Path, name: str, action: Action, trial: int | None, argument: str) -> None:
    from experiments.loop.controller import run_requests
    from experiments.loop.recovery import settle_stopped
    from experiments.run.request import RunRequest
    from experiments.run.run import open_run

    request = RunRequest(run=name, root=root).with_remembered()
    with logged(root, name) as log:
        progress, outcome = Progress(screen(), log), ""
        opened = open_run(root, name, request.profile, progress.announce, request.level, request.unsafe)
        number = opened.ledger.add_request(action, trial, argument)
        try:
            run_requests(opened, request, progress.report, progress.say)
        except KeyboardInterrupt:
            settle_stopped(opened)
            progress.say(f"stopped on request; ./loop.sh --run {name} goes on with what waits")
            raise typer.Exit(EXIT_STOPPED) from None
        finally:
            progress.stop()
            outcome = next(each.outcome for each in opened.ledger.requests() if each.number == number)
            opened.close()
            update_report(root, name)
    if outcome.startswith("not done"):
        raise CaddieError(f"{action}: {outcome}")

"""Doctor's lines on git and on what stands under the run's name: nothing of it may be in the way of a night."""

from collections.abc import Iterator

from data.errors import CaddieError, WorkspaceError
from experiments import standing, stop
from experiments.checkup import BAD, GOOD, NOTE, Line, Order, judged
from experiments.ledger import Ledger
from experiments.runs import ledger_path
from experiments.workspace import Workspace, without_credentials
from preflight.text import one_line


def repository(order: Order) -> Iterator[Line]:
    try:
        workspace = Workspace(order.root, order.run)
        head = workspace.head()
    except WorkspaceError as error:  # its last part is what helps
        yield _in_the_way("repository", error, "one of your own, with a commit")
        return
    clean = workspace.is_clean()
    found = f"commit {head[:10]}" + ("" if clean else ", base/ has changes that are not committed")
    yield Line(
        "base/", GOOD if clean else NOTE, found, "a commit", "" if clean else "git commit base; the run uses HEAD"
    )
    identity = workspace.identity()
    hint = 'git config --global user.name "…" && git config --global user.email …'
    state = GOOD if identity else NOTE
    yield Line(
        "identity", state, identity or "none", "yours, to promote; trials sign as caddie", "" if identity else hint
    )
    if order.push:
        problem = workspace.unreachable(order.push)
        hint = "git fetch --unshallow" if workspace.is_shallow() else "git remote -v; git remote add NAME URL"
        needed = f"{one_line(without_credentials(order.push), 60)} to take what is pushed"
        yield judged("push", not problem, problem or "answers", needed, hint)
    yield _run(order, workspace)


def _run(order: Order, workspace: Workspace) -> Line:
    """Whether the run can begin, or go on, without overwriting anything."""
    needed, path = "a name whose results are all in its ledger", ledger_path(order.root, order.run)
    try:
        if not standing.is_begun(path):
            standing.require_room(workspace)
            return Line("run", GOOD, f"{order.run}, new", needed)
        ledger = Ledger(path)
        rows = ledger.rows()
        ledger.close()
        standing.require_known_best(workspace, rows)
    except CaddieError as error:
        return _in_the_way("run", error, needed)
    return Line("run", GOOD, f"{order.run}, goes on after {len(rows)} rows", needed)


def _in_the_way(what: str, error: CaddieError, needed: str) -> Line:
    """A message whose last part is what helps, if it has parts."""
    found, _, mend = str(error).rpartition("; ")
    return Line(what, BAD, one_line(found or mend, 300), needed, mend if found else "mend what the line names")


def stop_file(order: Order) -> Iterator[Line]:
    """A STOP that somebody forgot would end the run before its first trial."""
    file = order.root / stop.NAME
    if stop.asked(file, order.run):
        yield Line("STOP", BAD, stop.left_over(file).rpartition("; ")[0], "no such file before the run", f"rm {file}")

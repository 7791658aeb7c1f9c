"""Checks of git and of earlier results under the run's name, which must not stop a run halfway."""

from collections.abc import Iterator

from common.errors import CaddieError, WorkspaceError
from common.text import one_line
from experiments.doctor.result import BAD, GOOD, NOTE, CheckResult, pass_or_fail
from experiments.ledger import store
from experiments.ledger.store import Ledger
from experiments.repo.repository import without_credentials
from experiments.repo.workspace import Workspace
from experiments.run import consistency, stop
from experiments.run.layout import ledger_path
from experiments.run.request import RunRequest


def repository(request: RunRequest) -> Iterator[CheckResult]:
    """Check the commit, the identity, the remote to push to, and the run's own name."""
    try:
        workspace = Workspace(request.root, request.run)
        head = workspace.head()
    except WorkspaceError as error:
        yield _from_error("repository", error, "one of your own, with a commit")
        return
    clean = workspace.is_clean()
    actual = f"commit {head[:10]}" + ("" if clean else ", base/ has changes that are not committed")
    fix = "" if clean else "git commit base; the run uses HEAD"
    yield CheckResult("base/", GOOD if clean else NOTE, actual, "a commit", fix)
    identity = workspace.identity()
    fix = "" if identity else 'git config --global user.name "…" && git config --global user.email …'
    expected = "yours, to promote; trials are committed as caddie"
    yield CheckResult("identity", GOOD if identity else NOTE, identity or "none", expected, fix)
    if request.push:
        problem = workspace.push_problem(request.push)
        fix = "git fetch --unshallow" if workspace.is_shallow() else "git remote -v; git remote add NAME URL"
        expected = f"{one_line(without_credentials(request.push), 60)} accepts a push"
        yield pass_or_fail("push", not problem, problem or "answers", expected, fix)
    yield _run(request, workspace)


def _run(request: RunRequest, workspace: Workspace) -> CheckResult:
    """Check that the run can begin or resume without overwriting anything."""
    expected, path = "a name whose results are all in its ledger", ledger_path(request.root, request.run)
    try:
        if not store.contains_run(path):
            consistency.require_unused_name(workspace)
            return CheckResult("run", GOOD, f"{request.run}, new", expected)
        ledger = Ledger(path)
        rows, moved = ledger.rows(), consistency.base_moved(workspace, ledger)
        ledger.close()
        consistency.require_known_best(workspace, rows)
    except CaddieError as error:
        return _from_error("run", error, expected)
    if moved:
        problem, _, fix = moved.partition("; ")
        return CheckResult("run", NOTE, problem, "the base/ that it began with, unless you want another", fix)
    return CheckResult("run", GOOD, f"{request.run}, resumes after {len(rows)} rows", expected)


def _from_error(what: str, error: CaddieError, expected: str) -> CheckResult:
    """Return a bad result: the last part of the message, after a semicolon, is the fix."""
    problem, _, last = str(error).rpartition("; ")
    fix = last if problem else "fix what the line names"
    return CheckResult(what, BAD, one_line(problem or last, 300), expected, fix)


def stop_file(request: RunRequest) -> Iterator[CheckResult]:
    """Check for a forgotten STOP, which would end the run before its first trial."""
    file = request.root / stop.NAME
    if stop.is_requested(file, request.run):
        yield CheckResult(
            "STOP", BAD, stop.stale_message(file).rpartition("; ")[0], "no such file before the run", f"rm {file}"
        )

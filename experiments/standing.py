"""What stands in git under a run's name, held against its ledger: no result is overwritten or orphaned."""

import re
from pathlib import Path

from data.errors import CaddieError
from experiments.ledger import Ledger, Row
from experiments.workspace import Workspace

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checked_name(run: str) -> str:
    """A run's name that is one folder below trials/ and a part of git's refs; raises CaddieError for any other."""
    if not NAME.fullmatch(run) or ".." in run or run.endswith((".", ".lock")):
        raise CaddieError(f"got run {run[:80]!r}, expected letters, digits, '-', '_' and '.', as in night-2")
    return run


def is_begun(path: Path) -> bool:
    """Whether there is a ledger, and a run in it."""
    if not path.exists() or not path.stat().st_size:
        return False
    ledger = Ledger(path)
    try:
        return ledger.fact("profile") is not None
    finally:
        ledger.close()


def require_room(workspace: Workspace) -> None:
    """For a run without a ledger: raises CaddieError where results of its name stand, or no branch of it can."""
    run = workspace.run
    if (found := workspace.trial_branches()) or workspace.beyond_head():
        here = workspace.resolve(f"refs/caddie/{run}/ledger")
        back = f"`python -m experiments restore {'.' if here else 'REMOTE'} {run}`"
        told = f"trials/{run} holds no ledger, but {len(found) or 1} branches experiments/{run}/* hold results"
        where = "its mirror in git" if here else "where it was pushed"
        raise CaddieError(f"{told}; {back} brings it back from {where}, or choose another --run")
    for branch in ("experiments", f"experiments/{run}"):
        if workspace.resolve(f"refs/heads/{branch}"):
            told = f"branch {branch} is in the way of experiments/{run}/*"
            raise CaddieError(f"{told}; git branch -m {branch} {branch.replace('/', '-')}-old, or another --run")


def unknown_branches(workspace: Workspace, rows: list[Row]) -> list[int]:
    """Trials that have a branch and no row: the ledger is an older copy. Their numbers are left alone."""
    return sorted(workspace.trial_branches().keys() - {row.number for row in rows})


def require_known_best(workspace: Workspace, rows: list[Row]) -> None:
    """Raises CaddieError where the incumbent's branch is at a commit that the ledger knows nothing of."""
    run, branches = workspace.run, workspace.trial_branches()
    best = workspace.resolve(f"refs/heads/experiments/{run}/best")
    known = {row.commit_id for row in rows} | {row.parent for row in rows}
    # Of a settlement that was cut off, or of a newer ledger: no result hangs on `best` alone.
    known |= {*branches.values()}
    if rows and best and best not in known:
        raise CaddieError(
            f"experiments/{run}/best is at {best[:10]}, which the ledger of run {run} does not know; bring its newer "
            f"ledger back, or `git branch -m experiments/{run}/best other`: the run then goes on from what it knows"
        )

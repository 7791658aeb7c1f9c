"""Checks that git and the ledger agree about a run, so that no result is overwritten or orphaned."""

from common.errors import CaddieError
from experiments.ledger.rows import Row
from experiments.repo.workspace import Workspace


def require_unused_name(workspace: Workspace) -> None:
    """Raise CaddieError if a run without a ledger has results in git, or if a branch blocks its branches."""
    run = workspace.run
    if (branches := workspace.trial_branches()) or workspace.best_is_ahead_of_head():
        mirror = workspace.resolve(f"refs/caddie/{run}/ledger")
        command = f"`python -m experiments restore {'.' if mirror else 'REMOTE'} {run}`"
        message = f"trials/{run} holds no ledger, but {len(branches) or 1} branches experiments/{run}/* hold results"
        source = "its mirror in git" if mirror else "the remote it was pushed to"
        raise CaddieError(f"{message}; {command} restores it from {source}, or choose another --run")
    for branch in ("experiments", f"experiments/{run}"):
        if workspace.resolve(f"refs/heads/{branch}"):
            message = f"branch {branch} is in the way of experiments/{run}/*"
            raise CaddieError(f"{message}; git branch -m {branch} {branch.replace('/', '-')}-old, or another --run")


def branches_without_rows(workspace: Workspace, rows: list[Row]) -> list[int]:
    """Return trials that have a branch but no row: the ledger is an older copy. Their numbers are not used again."""
    return sorted(workspace.trial_branches().keys() - {row.number for row in rows})


def require_known_best(workspace: Workspace, rows: list[Row]) -> None:
    """Raise CaddieError if the incumbent's branch is at a commit that the ledger does not know."""
    run, branches = workspace.run, workspace.trial_branches()
    best = workspace.resolve(f"refs/heads/experiments/{run}/best")
    known = {row.commit_id for row in rows} | {row.parent for row in rows}
    # A trial's branch without a settled row: of an interrupted settlement, or of a newer ledger. Either way `best` is
    # not the only ref that holds the result.
    known |= {*branches.values()}
    if rows and best and best not in known:
        raise CaddieError(
            f"experiments/{run}/best is at {best[:10]}, which the ledger of run {run} does not know; restore its newer "
            f"ledger, or `git branch -m experiments/{run}/best other` to continue from what the ledger knows"
        )

"""Checks that git and the ledger agree about a run, so that no result is overwritten or orphaned."""

from common.errors import CaddieError, WorkspaceError
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.repo.workspace import Workspace

HEAD_BASE = "head_base"  # the fact with the tree of base/ at HEAD when the run began; older runs have none


def require_unused_name(workspace: Workspace) -> None:
    """Raise CaddieError if a run without a ledger has results in git, or if a branch blocks its branches."""
    run = workspace.run
    if (commits := workspace.trial_commits()) or workspace.best_is_ahead_of_head():
        mirror = workspace.resolve(f"refs/caddie/{run}/ledger")
        command = f"`python -m experiments restore {'.' if mirror else 'REMOTE'} {run}`"
        message = f"trials/{run} holds no ledger, but git holds {len(commits) or 1} results of run {run}"
        source = "its mirror in git" if mirror else "the remote it was pushed to"
        raise CaddieError(f"{message}; {command} restores it from {source}, or choose another --run")
    for branch in ("experiments", f"experiments/{run}"):
        if workspace.resolve(f"refs/heads/{branch}"):
            message = f"branch {branch} is in the way of experiments/{run}/*"
            raise CaddieError(f"{message}; git branch -m {branch} {branch.replace('/', '-')}-old, or another --run")


def commits_without_rows(workspace: Workspace, rows: list[Row]) -> list[int]:
    """Return trials that have a commit but no row: the ledger is an older copy. Their numbers are not used again."""
    return sorted(workspace.trial_commits().keys() - {row.number for row in rows})


def base_moved(workspace: Workspace, ledger: Ledger) -> str:
    """Return a line if base/ was committed to since the run began, other than by `adopt`; empty otherwise."""
    kept = [row for row in ledger.rows() if row.state.is_kept]
    try:
        head = workspace.base_of("HEAD")
    except WorkspaceError:  # another branch is checked out, without base/
        return ""
    if not kept or ledger.fact(HEAD_BASE) == head or head in [workspace.base_of(str(row.commit_id)) for row in kept]:
        return ""
    run = workspace.run
    return (
        f"base/ was committed to at {workspace.head()[:10]}, and run {run} still stands on what it began with; "
        f"`.venv/bin/python -m experiments try HEAD --run {run}` tries your commit on top of the incumbent, "
        "`./loop.sh --run OTHER` starts a run from it"
    )


def require_known_best(workspace: Workspace, rows: list[Row]) -> None:
    """Raise CaddieError if the incumbent's branch is at a commit that the ledger does not know."""
    run, commits = workspace.run, workspace.trial_commits()
    best = workspace.resolve(f"refs/heads/experiments/{run}/best")
    known = {row.commit_id for row in rows} | {row.parent for row in rows}
    # A trial's commit without a settled row: of an interrupted settlement, or of a newer ledger. Either way `best` is
    # not the only ref that holds the result.
    known |= {*commits.values()}
    if rows and best and best not in known:
        raise CaddieError(
            f"experiments/{run}/best is at {best[:10]}, which the ledger of run {run} does not know; restore its newer "
            f"ledger, or `git branch -m experiments/{run}/best other` to continue from what the ledger knows"
        )

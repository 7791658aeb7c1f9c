"""Refs of a run move only from the commit that was read, whatever another process does to them."""

import pytest
from helpers.tiny_profile import MORE_TEXT, git, proposal

from common.errors import WorkspaceError
from experiments.repo.workspace import Workspace
from experiments.trial.trial import run_trial


def test_refs_move_only_from_where_they_were_read(repo_with_keep):
    workspace = Workspace(repo_with_keep, "night")
    best, head = workspace.best(), workspace.head()
    for move in (
        lambda: workspace.set_best(head, head),
        lambda: workspace.set_best(head, None),
        lambda: workspace.commit(1, workspace.tree_of(head), head, "again"),
        lambda: workspace.commit_files("refs/heads/experiments/night/best", {}, head, "x"),
    ):
        with pytest.raises(WorkspaceError):
            move()
        assert workspace.best() == best
    workspace.drop_commit(1, best)  # another process's, with another parent
    assert workspace.trial_commits() == {1: best}


def test_a_trial_without_a_branch_gets_one_on_request_and_old_runs_are_read(repo_with_keep):
    workspace = Workspace(repo_with_keep, "night")
    commit = workspace.commit(2, workspace.tree_of("HEAD"), workspace.head(), "a discarded trial")
    assert git(repo_with_keep, "branch", "--list", "experiments/night/0002") == ""
    assert workspace.show_branch(2) == workspace.show_branch(2) == "experiments/night/0002"
    assert git(repo_with_keep, "rev-parse", "experiments/night/0002") == commit
    git(repo_with_keep, "update-ref", "-d", "refs/caddie/night/trials/0002")  # as it was before 2026-12
    assert workspace.trial_commits()[2] == commit
    with pytest.raises(WorkspaceError, match="trial 3 of run night has no commit"):
        workspace.show_branch(3)


@pytest.mark.slow
@pytest.mark.trial
def test_a_kept_trial_leads_from_the_incumbent_it_was_tried_against(run, budget):
    """A branch that is moved while a trial runs stays where it was moved to, and the trial is not recorded on it."""
    moved = git(run.workspace.root, "commit-tree", "-p", "HEAD", "-m", "mine", run.workspace.tree_of("HEAD"))
    text = proposal(run, MORE_TEXT)
    incumbent = run.workspace.best()

    def move_branch():
        run.workspace.set_best(moved, incumbent)

    with pytest.raises(WorkspaceError):
        run_trial(run, text, budget, move_branch)
    assert run.workspace.best() == moved

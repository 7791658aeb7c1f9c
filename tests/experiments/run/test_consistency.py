"""Results are never overwritten or orphaned, whatever happened to the ledger or to the branches."""

import shutil

import pytest
from helpers.runs import doctor_lines, empty_ledger, ledger_file, refs, start_run
from helpers.tiny_profile import git, proposal

from common.errors import CaddieError
from experiments.doctor.result import BAD
from experiments.ledger.store import Ledger
from experiments.loop.recovery import recover
from experiments.run.run import open_run
from experiments.trial.trial import run_trial


def reset_to_schema(root):
    ledger_file(root).unlink()
    Ledger(ledger_file(root)).close()


@pytest.mark.parametrize(
    "lose",
    [
        lambda root: shutil.rmtree(root / "trials"),
        lambda root: git(root, "clean", "-fdxq", "trials"),
        lambda root: ledger_file(root).unlink(),
        empty_ledger,
        reset_to_schema,
    ],
)
def test_a_run_without_its_ledger_is_refused(repo_with_keep, lose):
    lose(repo_with_keep)
    before = refs(repo_with_keep)
    with pytest.raises(CaddieError, match="no ledger, but git holds 1 results .* restore REMOTE night.* another --run"):
        start_run(repo_with_keep)
    assert refs(repo_with_keep) == before
    line = doctor_lines(repo_with_keep)["run"]
    assert line.state == BAD
    assert "choose another --run" in line.actual + line.fix
    start_run(repo_with_keep, "another")


def test_without_branches_of_trials_the_kept_commit_is_still_a_result(repo_with_keep):
    git(repo_with_keep, "branch", "-D", "experiments/night/0001")
    git(repo_with_keep, "update-ref", "-d", "refs/caddie/night/trials/0001")
    shutil.rmtree(repo_with_keep / "trials")
    with pytest.raises(CaddieError, match="holds no ledger"):
        start_run(repo_with_keep)
    git(repo_with_keep, "update-ref", "refs/heads/experiments/night/best", "HEAD")  # nothing that the user lacks
    start_run(repo_with_keep)


def test_an_incumbent_branch_that_was_moved_is_named(repo_with_keep):
    git(repo_with_keep, "commit", "--quiet", "--allow-empty", "--message=mine")
    git(repo_with_keep, "update-ref", "refs/heads/experiments/night/best", "HEAD")
    opened = open_run(repo_with_keep, "night", "tiny", lambda *_: None)
    with pytest.raises(CaddieError, match="best is at .* `git branch -m experiments/night/best other"):
        recover(opened)
    assert doctor_lines(repo_with_keep)["run"].state == BAD
    git(repo_with_keep, "branch", "-m", "experiments/night/best", "other")
    recover(opened)
    assert opened.workspace.best() == opened.ledger.incumbent().commit_id
    opened.close()


@pytest.mark.slow
@pytest.mark.trial
def test_a_ledger_older_than_its_branches_continues_after_them(repo_with_keep, budget):
    """A copy from before the last trials: their branches stay, and new trials get other numbers."""
    old = repo_with_keep.parent / "old.sqlite"
    shutil.copy(ledger_file(repo_with_keep), old)
    opened = open_run(repo_with_keep, "night", "tiny", lambda *_: None)
    run_trial(opened, proposal(opened, ("base/config.py", '"smoothing": 0.5', '"smoothing": 500.0')), budget)
    opened.close()
    before = refs(repo_with_keep)
    for name in ("ledger.sqlite-wal", "ledger.sqlite-shm"):
        (repo_with_keep / "trials" / "night" / name).unlink(missing_ok=True)
    shutil.copy(old, ledger_file(repo_with_keep))
    opened = open_run(repo_with_keep, "night", "tiny", lambda *_: None)
    row = run_trial(opened, proposal(opened, ("base/config.py", '"smoothing": 0.5', '"smoothing": 400.0')), budget)
    opened.close()
    assert row.number == 3
    assert set(before.splitlines()) <= set(refs(repo_with_keep).splitlines())


@pytest.mark.parametrize("branch", ["experiments", "experiments/night"])
def test_a_branch_that_is_in_the_way_is_named(repo, branch):
    git(repo, "branch", branch)
    with pytest.raises(CaddieError, match=f"branch {branch} is in the way .* git branch -m"):
        start_run(repo)
    assert "git branch -m" in doctor_lines(repo)["run"].fix

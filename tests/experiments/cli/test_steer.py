"""Requests of a person: a change from a branch, a dirty tree, a patch or a proposal, and decisions on trials."""

import json
import shutil
import subprocess
from contextlib import closing

import pytest
from helpers.programs import run_experiments
from helpers.runs import ledger_file
from helpers.tiny_profile import MORE_TEXT, git, proposal

from common import lock
from common.state import State
from experiments.ledger.store import Ledger
from experiments.run.run import open_run

ELSEWHERE = ("base/model.py", "< 0.01)", "< 0.02)")  # git merges it with a change of base/config.py


def edit(root, change=ELSEWHERE, folder=None):
    """Apply an edit to the working tree."""
    path, search, replace = change
    file = (folder or root) / path
    assert search in (text := file.read_text())
    file.write_text(text.replace(search, replace))


def command(root, *arguments, status=0) -> str:
    done = run_experiments(root, *arguments, "--run", "night")
    output = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == status, output
    return output


def rows(root):
    with closing(Ledger(ledger_file(root))) as ledger:
        return ledger.rows()


@pytest.fixture
def root(measured_repo, tmp_path):
    return shutil.copytree(measured_repo, tmp_path / "measured", symlinks=True)


def as_dirty_tree(root):
    edit(root)
    return "."


def as_branch(root):
    git(root, "switch", "--quiet", "--create", "mine")
    edit(root)
    git(root, "commit", "--quiet", "--all", "--message=More text")
    git(root, "switch", "--quiet", "main")
    return "mine"


def as_patch(root):
    edit(root)
    with (root / "my.patch").open("w") as file:
        subprocess.run(["git", "diff"], cwd=root, stdout=file, check=True)
    git(root, "checkout", "--quiet", "--", "base")
    return "my.patch"


def as_folder(root):
    elsewhere = root.parent / "elsewhere"
    shutil.copytree(root / "base", elsewhere / "base")
    edit(root, folder=elsewhere)
    return str(elsewhere / "base")


def as_worktree(root):
    git(root, "worktree", "add", "--quiet", str(root.parent / "worktree"))
    edit(root, folder=root.parent / "worktree")
    return str(root.parent / "worktree")


def as_proposal(root):
    with closing(open_run(root, "night", "tiny", lambda *_: None)) as run:
        fields = json.loads(proposal(run, ELSEWHERE, title="more text"))
    del fields["parent"]
    (root / "mine.json").write_text(json.dumps(fields))
    return "mine.json"


@pytest.mark.parametrize(
    "made", [as_dirty_tree, *(pytest.param(made, marks=pytest.mark.slow) for made in (as_branch, as_patch))]
)
def test_a_change_is_tried_from_wherever_it_is(root, made):
    before = git(root, "status", "--porcelain", "--untracked-files=no"), git(root, "rev-parse", "HEAD")
    output = command(root, "try", made(root))
    row = rows(root)[1]
    assert row.state.judged
    assert f"trial 0001  {row.state}" in output
    assert json.loads(rows(root)[1].proposal)["by"] == "person"
    assert git(root, "rev-parse", "HEAD") == before[1]


@pytest.mark.parametrize("made", [as_folder, as_worktree, as_proposal, as_branch, as_dirty_tree, as_patch])
def test_every_form_of_a_change_is_queued_as_the_same_tree(root, made):
    output = command(root, "queue", made(root))
    assert "is next for run night" in output
    with closing(Ledger(ledger_file(root))) as ledger:
        (request,) = ledger.requests()
    (changed,) = json.loads(request.argument)["edits"]
    assert "< 0.02)" in changed["replace"]
    assert "waits" in command(root, "queue")
    command(root, "queue", "--drop", "1")
    assert "dropped" in command(root, "queue")


def test_a_change_that_is_based_on_an_older_commit_is_merged_with_what_was_kept(repo_with_keep):
    edit(repo_with_keep)
    command(repo_with_keep, "queue", ".")
    with closing(Ledger(ledger_file(repo_with_keep))) as ledger:
        (request,) = ledger.requests()
        best = ledger.incumbent().commit_id
    fields = json.loads(request.argument)
    assert fields["parent"] == best
    assert "iterations" not in json.dumps(fields["edits"])  # the keep's change is not part of this one


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("nothing-like-it", "expected a commit, a branch, a patch file, a folder or a proposal"),
        ("HEAD", "there is no change to try"),
        ("program.md", "expected a patch"),
        ("shards", "expected a folder with base/ in it"),
    ],
)
def test_what_cannot_be_tried_is_one_line(root, argument, words):
    output = command(root, "try", argument, status=2)
    assert words in " ".join(output.split())
    assert len(rows(root)) == 1


def test_a_conflict_names_the_file_and_what_to_do(repo_with_keep):
    edit(repo_with_keep, ("base/config.py", '"iterations": 4', '"iterations": 7'))
    output = command(repo_with_keep, "try", status=2)
    assert "conflicts with what the run has kept" in output
    assert "base/config.py" in output
    assert "git rebase experiments/night/best" in " ".join(output.split())


def test_a_request_waits_while_a_controller_is_at_work(root):
    edit(root)
    with closing(lock.acquire(root / "trials" / "night" / "lock")):
        output = " ".join(command(root, "try").split())
    assert "is in use by pid" in output
    assert "request 1 waits" in output
    assert len(rows(root)) == 1
    (root / "script").mkdir()
    command(root, "run", "--profile", "tiny", "--proposer", "scripted", "--script", "script")
    assert rows(root)[1].state.judged


def test_a_proposer_cannot_pass_for_a_person(run, budget):
    from experiments.trial.trial import run_trial

    row = run_trial(run, proposal(run, MORE_TEXT, by="person"), budget)
    assert row.state is State.BAD_DIFF
    assert "only `experiments try` and `queue`" in row.detail


def test_a_remark_is_shown_with_the_trial(repo_with_keep):
    command(repo_with_keep, "note", "1", "needed for the next one")
    assert "needed for the next one" in command(repo_with_keep, "show", "1")


def test_a_run_begins_at_a_trial_of_another(repo_with_keep):
    with closing(Ledger(ledger_file(repo_with_keep))) as ledger:
        kept = ledger.row(1)
    assert "./loop.sh --run second" in command(repo_with_keep, "from", "1", "second")
    assert git(repo_with_keep, "rev-parse", "experiments/second/best") == kept.commit_id
    assert "exists already" in command(repo_with_keep, "from", "1", "second", status=2)
    with closing(open_run(repo_with_keep, "second", "tiny", lambda *_: None)) as run:
        assert run.workspace.read(run.workspace.best()) == run.workspace.read(str(kept.commit_id))

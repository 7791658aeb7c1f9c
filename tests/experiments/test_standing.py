"""Results are never overwritten or orphaned, whatever became of the ledger, the branches or the repository."""

import json
import os
import shutil
import subprocess
import sys
import threading

import pytest
from support import MORE_TEXT, ROOT, git, proposal

from data.errors import CaddieError, WorkspaceError
from experiments import mirror, stop
from experiments.branches import finalize
from experiments.checkout import Checkout
from experiments.checkup import BAD, GOOD, Order
from experiments.doctor_run import repository, stop_file
from experiments.ledger import Ledger
from experiments.loop import open_bench, recover
from experiments.standing import checked_name
from experiments.tiers import PROFILES
from experiments.trial import run_trial
from experiments.workspace import Workspace

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files to another user")


@pytest.fixture
def kept(kept_repo, tmp_path):
    """A run with a kept trial, nobody working on it."""
    return shutil.copytree(kept_repo, tmp_path / "kept", symlinks=True)


def test_any_thread_may_collect_a_forgotten_ledger(tmp_path):
    forgotten, complaints = [Ledger(tmp_path / "ledger.sqlite")], []
    hook, sys.unraisablehook = sys.unraisablehook, complaints.append
    try:
        thread = threading.Thread(target=forgotten.clear)
        thread.start()
        thread.join()
    finally:
        sys.unraisablehook = hook
    assert not complaints


def refs(root):
    return git(root, "for-each-ref", "--format=%(refname) %(objectname)")


def order(root, run="night", **changes):
    return Order(root, run, "tiny", PROFILES["tiny"], "scripted", (), changes.pop("push", ""), 3, 1.0, **changes)


def lines(root, run="night", **changes):
    return {line.what: line for line in repository(order(root, run, **changes))}


def start(root, run="night"):
    open_bench(root, run, "tiny", lambda *_: None).close()


def experiments(root, *arguments, **environment):
    command = [sys.executable, "-m", "experiments", *arguments]
    return subprocess.run(
        command,
        cwd=root,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}/tests/profile", **environment},
    )


def emptied(root):
    ledger = root / "trials" / "night" / "ledger.sqlite"
    ledger.write_bytes(b"")


def schema_only(root):
    path = root / "trials" / "night" / "ledger.sqlite"
    path.unlink()
    Ledger(path).close()


@pytest.mark.parametrize(
    "lose",
    [
        lambda root: shutil.rmtree(root / "trials"),
        lambda root: git(root, "clean", "-fdxq", "trials"),
        lambda root: (root / "trials" / "night" / "ledger.sqlite").unlink(),
        emptied,
        schema_only,
    ],
)
def test_a_run_without_its_ledger_is_refused(kept, lose):
    lose(kept)
    before = refs(kept)
    with pytest.raises(CaddieError, match="holds no ledger, but 1 branches .* restore REMOTE night.* another --run"):
        start(kept)
    assert refs(kept) == before
    line = lines(kept)["run"]
    assert line.state == BAD
    assert "choose another --run" in line.found + line.type_this
    start(kept, "another")


def test_without_branches_of_trials_the_kept_commit_is_still_a_result(kept):
    git(kept, "branch", "-D", "experiments/night/0001")
    shutil.rmtree(kept / "trials")
    with pytest.raises(CaddieError, match="holds no ledger"):
        start(kept)
    git(kept, "update-ref", "refs/heads/experiments/night/best", "HEAD")  # nothing but what the person has too
    start(kept)


def test_the_mirror_in_git_brings_a_ledger_back(kept):
    ledger = Ledger(kept / "trials" / "night" / "ledger.sqlite")
    mirror.update(Workspace(kept, "night"), ledger)
    rows = ledger.rows()
    ledger.close()
    emptied(kept)
    with pytest.raises(CaddieError, match=r"restore \. night` brings it back from its mirror in git"):
        start(kept)
    (kept / "trials" / "night" / "ledger.sqlite-wal").write_bytes(b"of the one that was lost")
    assert mirror.restore(kept, "night", ".") == len(rows)
    assert (kept / "trials" / "night" / "ledger.sqlite-wal.lost").read_bytes() == b"of the one that was lost"
    start(kept)
    ledger = Ledger(kept / "trials" / "night" / "ledger.sqlite")
    assert [row.val_bpb for row in ledger.rows()] == [row.val_bpb for row in rows]
    ledger.close()


def test_refs_move_only_from_where_they_were_read(kept):
    workspace = Workspace(kept, "night")
    best, head = workspace.best(), workspace.head()
    for move in (
        lambda: workspace.set_best(head, head),
        lambda: workspace.set_best(head, None),
        lambda: workspace.commit(1, workspace.tree_of(head), head, "again"),
        lambda: workspace.record("refs/heads/experiments/night/best", {}, head, "x"),
    ):
        with pytest.raises(WorkspaceError):
            move()
        assert workspace.best() == best
    workspace.drop(1, best)  # somebody else's branch, with another parent
    assert workspace.resolve("refs/heads/experiments/night/0001") == best


def test_an_incumbent_that_somebody_moved_is_named(kept):
    git(kept, "commit", "--quiet", "--allow-empty", "--message=mine")
    git(kept, "update-ref", "refs/heads/experiments/night/best", "HEAD")
    opened = open_bench(kept, "night", "tiny", lambda *_: None)
    with pytest.raises(CaddieError, match="best is at .* `git branch -m experiments/night/best other"):
        recover(opened)
    assert lines(kept)["run"].state == BAD
    git(kept, "branch", "-m", "experiments/night/best", "other")
    recover(opened)
    assert opened.workspace.best() == opened.ledger.incumbent().commit_id
    opened.close()


@pytest.mark.trial
def test_a_ledger_older_than_its_branches_goes_on_after_them(kept, budget):
    """A copy from before the last trials: their branches stay, and new trials take other numbers."""
    old = kept.parent / "old.sqlite"
    shutil.copy(kept / "trials" / "night" / "ledger.sqlite", old)
    opened = open_bench(kept, "night", "tiny", lambda *_: None)
    run_trial(opened, proposal(opened, ("base/config.py", '"smoothing": 0.5', '"smoothing": 500.0')), budget)
    opened.close()
    before = refs(kept)
    for name in ("ledger.sqlite-wal", "ledger.sqlite-shm"):
        (kept / "trials" / "night" / name).unlink(missing_ok=True)
    shutil.copy(old, kept / "trials" / "night" / "ledger.sqlite")
    opened = open_bench(kept, "night", "tiny", lambda *_: None)
    row = run_trial(opened, proposal(opened, ("base/config.py", '"smoothing": 0.5', '"smoothing": 400.0')), budget)
    opened.close()
    assert row.number == 3
    assert set(before.splitlines()) <= set(refs(kept).splitlines())


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/tmp/x",
        "-n",
        "a b",
        "a..b",
        "x.lock",
        "x.",
        "a~b",
        "a:b",
        "a\nb",
        "é",
        "@{",
        "x" * 65,
    ],
)
def test_a_run_has_a_name_that_git_and_folders_take(repo, name):
    before = sorted(repo.parent.rglob("*"))
    with pytest.raises(CaddieError, match="got run"):
        start(repo, name)
    commands = ["run", f"--run={name}"], ["status", f"--run={name}"], ["restore", ".", name], ["finalize", name]
    for command in commands if name in ("../x", "a b") else ():
        done = experiments(repo, *command)
        assert done.returncode == 2, command
        assert "got run" in done.stdout
    assert sorted(repo.parent.rglob("*")) == before, "nothing has been written"


def test_names_that_are_in_use_stay_good():
    for name in ("demo", "night-2", "2026-11-30", "a.b_c", "X"):
        assert checked_name(name) == name


@pytest.mark.parametrize("branch", ["experiments", "experiments/night"])
def test_a_branch_that_is_in_the_way_is_named(repo, branch):
    git(repo, "branch", branch)
    with pytest.raises(CaddieError, match=f"branch {branch} is in the way .* git branch -m"):
        start(repo)
    assert "git branch -m" in lines(repo)["run"].type_this


def test_a_second_finalize_says_what_to_do(kept):
    checkout, ledger = Checkout(kept, "night"), Ledger(kept / "trials" / "night" / "ledger.sqlite")
    finalize(checkout, ledger, "HEAD", "finalize/night")
    before = refs(kept)
    for name in ("finalize/night", "finalize/night/more", "main/x", "experiments/night/0007"):
        with pytest.raises(WorkspaceError, match="--branch NAME|outside experiments/"):
            finalize(checkout, ledger, "HEAD", name)
    assert refs(kept) == before
    assert finalize(checkout, ledger, "HEAD", "finalize/again")
    ledger.close()


def test_a_shallow_clone_cannot_be_pushed_and_says_so(repo, tmp_path):
    git(repo, "commit", "--quiet", "--allow-empty", "--message=two")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repo}", "shallow")
    git(tmp_path, "init", "--quiet", "--bare", "backup.git")
    push = str(tmp_path / "backup.git")
    line = lines(tmp_path / "shallow", push=push)["push"]
    assert (line.state, line.type_this) == (BAD, "git fetch --unshallow")
    shutil.copytree(repo / "shards", tmp_path / "shallow" / "shards", symlinks=True)
    done = experiments(tmp_path / "shallow", "run", "--run", "night", "--profile", "tiny", "--push", push)
    assert (done.returncode, done.stdout.count("git fetch --unshallow")) == (2, 1)
    git(tmp_path / "shallow", "fetch", "--quiet", "--unshallow")
    assert lines(tmp_path / "shallow", push=push)["push"].state == GOOD
    assert git(tmp_path / "backup.git", "for-each-ref") == "", "doctor sends nothing"


@needs_root
def test_a_remote_that_can_be_read_and_not_written_is_red(repo, tmp_path):
    """A mount that is read-only answers `ls-remote` and a push that is not made."""
    git(tmp_path, "init", "--quiet", "--bare", "backup.git")
    place = str(tmp_path / "backup.git")
    if subprocess.run(["mount", "--bind", "-o", "ro", place, place]).returncode:
        pytest.skip("no mounts can be made here")  # a container's root often may not; CI's may
    try:
        assert git(repo, "ls-remote", place) == ""
        line = lines(repo, push=place)["push"]
    finally:
        subprocess.run(["umount", place], check=True)
    assert (line.state, "can be read and not written" in line.found) == (BAD, True)
    assert lines(repo, push=place)["push"].state == GOOD


def test_a_damaged_ledger_is_named_in_the_right_column(kept):
    (kept / "trials" / "night" / "ledger.sqlite").write_bytes(b"no database at all" * 100)
    line = lines(kept)["run"]
    assert "file is not a database" in line.found
    assert line.type_this == "mend what the line names"


def test_a_repository_without_a_commit_names_the_command(tmp_path):
    (tmp_path / "base").mkdir()
    line = lines(tmp_path)["repository"]
    assert line.type_this == "git init && git add -A && git commit -m start"
    git(tmp_path, "init", "--quiet")
    line = lines(tmp_path)["repository"]
    assert (line.state, line.type_this) == (BAD, "git add -A && git commit -m start")
    with pytest.raises(CaddieError, match="git add -A"):
        start(tmp_path)


def test_a_folder_inside_another_repository_is_no_root(repo):
    (repo / "copy" / "base").mkdir(parents=True)
    line = lines(repo / "copy")["repository"]
    assert line.state == BAD
    assert "expected the top of a repository" in line.found


@needs_root
def test_a_repository_of_another_user_names_the_command(repo, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    subprocess.run(["chown", "-R", "65534", str(repo)], check=True)
    line = lines(repo)["repository"]
    assert "another user" in line.found
    assert line.type_this == f"git config --global --add safe.directory {repo}"
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    subprocess.run(line.type_this, shell=True, check=True)
    assert lines(repo)["base/"].state == GOOD


def test_a_lock_names_its_holder(bench):
    with pytest.raises(CaddieError, match=rf"run night is being worked on by pid {os.getpid()} \(.*\), since 20\d\d-"):
        start(bench.workspace.root)


def test_a_forgotten_stop_is_red_and_ends_no_night(repo):
    root = repo
    for name in ("night", "other"):
        (root / "trials" / name).mkdir(parents=True)
    assert not list(stop_file(order(root)))
    (root / "STOP").write_text("other\n")
    assert not list(stop_file(order(root)))
    (root / "STOP").write_text("other night\n")
    (line,) = stop_file(order(root))
    assert line.state == BAD
    assert "rm " in line.type_this
    done = experiments(root, "run", "--run", "night", "--profile", "tiny", "--trials", "1")
    assert done.returncode == 2
    assert "a file STOP is here since" in done.stdout
    assert (root / "STOP").exists()
    assert not json.loads(experiments(root, "status", "--run", "night", "--json").stdout)["states"], (
        "not even a baseline"
    )


@pytest.mark.parametrize("words", [b"", b"please", b"Mon Nov 30 14:00", "night".encode("utf-16"), b"../x", b"\xff\0"])
def test_words_that_name_no_run_stop_whoever_sees_them(tmp_path, words):
    (tmp_path / "trials" / "night").mkdir(parents=True)
    (tmp_path / "STOP").write_bytes(words)
    assert stop.asked(tmp_path / "STOP", "night")
    stop.obeyed(tmp_path / "STOP", "night")
    assert not (tmp_path / "STOP").exists()


def test_a_stop_that_cannot_be_removed_says_so(tmp_path):
    (tmp_path / "STOP" / "x").mkdir(parents=True)
    assert stop.asked(tmp_path / "STOP", "night")
    assert "cannot be removed (Is a directory): rm -r STOP" in stop.obeyed(tmp_path / "STOP", "night")


def test_a_stop_names_its_runs_and_is_obeyed_once(tmp_path):
    for name in ("night", "other"):
        (tmp_path / "trials" / name).mkdir(parents=True)
    file = tmp_path / "STOP"
    assert not stop.asked(file, "night")
    file.write_text("night other")
    assert stop.asked(file, "night")
    assert stop.obeyed(file, "night") == "the file STOP asked run night to, and has been obeyed"
    assert not stop.asked(file, "night")
    assert stop.asked(file, "other")
    assert stop.obeyed(file, "other").endswith("removed")
    assert not file.exists()
    file.touch()
    assert stop.asked(file, "any")
    stop.obeyed(file, "any")
    assert not file.exists()


@pytest.mark.trial
def test_a_kept_trial_leads_from_the_incumbent_it_was_tried_against(bench, budget):
    """Whoever moves the branch while a trial runs finds it where they put it, and the trial is not lost on it."""
    moved = git(bench.workspace.root, "commit-tree", "-p", "HEAD", "-m", "mine", bench.workspace.tree_of("HEAD"))
    text = proposal(bench, MORE_TEXT)
    start_of = bench.workspace.best()

    def under_way():
        bench.workspace.set_best(moved, start_of)

    with pytest.raises(WorkspaceError):
        run_trial(bench, text, budget, under_way)
    assert bench.workspace.best() == moved

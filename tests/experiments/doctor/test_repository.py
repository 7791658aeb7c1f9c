"""Doctor's lines about the repository: each problem is red and names the command that fixes it."""

import os
import shutil
import subprocess

import pytest
from helpers.doctor import doctor, red_line
from helpers.runs import doctor_lines, ledger_file, run_command, start_run
from helpers.tiny_profile import git

from common.errors import CaddieError
from experiments.doctor.result import BAD, GOOD

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files to another user")


def test_a_shallow_clone_cannot_be_pushed(repo, tmp_path):
    git(repo, "commit", "--quiet", "--allow-empty", "--message=two")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repo}", "shallow")
    git(tmp_path, "init", "--quiet", "--bare", "backup.git")
    push = str(tmp_path / "backup.git")
    line = doctor_lines(tmp_path / "shallow", push=push)["push"]
    assert (line.state, line.fix) == (BAD, "git fetch --unshallow")
    shutil.copytree(repo / "shards", tmp_path / "shallow" / "shards", symlinks=True)
    done = run_command(tmp_path / "shallow", "run", "--run", "night", "--profile", "tiny", "--push", push)
    assert (done.returncode, done.stdout.count("git fetch --unshallow")) == (2, 1)
    git(tmp_path / "shallow", "fetch", "--quiet", "--unshallow")
    assert doctor_lines(tmp_path / "shallow", push=push)["push"].state == GOOD
    assert git(tmp_path / "backup.git", "for-each-ref") == "", "doctor sends nothing"


@needs_root
def test_a_remote_that_can_be_read_but_not_written_is_red(repo, tmp_path):
    """A read-only mount answers `ls-remote` and a dry run of a push."""
    git(tmp_path, "init", "--quiet", "--bare", "backup.git")
    remote = str(tmp_path / "backup.git")
    if subprocess.run(["mount", "--bind", "-o", "ro", remote, remote]).returncode:
        pytest.skip("this container cannot mount")  # root often may not; in CI it may
    try:
        assert git(repo, "ls-remote", remote) == ""
        line = doctor_lines(repo, push=remote)["push"]
    finally:
        subprocess.run(["umount", remote], check=True)
    assert (line.state, "can be read but not written" in line.actual) == (BAD, True)
    assert doctor_lines(repo, push=remote)["push"].state == GOOD


def test_a_damaged_ledger_is_named_in_the_right_column(repo_with_keep):
    ledger_file(repo_with_keep).write_bytes(b"no database at all" * 100)
    line = doctor_lines(repo_with_keep)["run"]
    assert "file is not a database" in line.actual
    assert line.fix == "fix what the line names"


def test_a_repository_without_a_commit_names_the_command(tmp_path):
    (tmp_path / "base").mkdir()
    line = doctor_lines(tmp_path)["repository"]
    assert line.fix == "git init && git add -A && git commit -m start"
    git(tmp_path, "init", "--quiet")
    line = doctor_lines(tmp_path)["repository"]
    assert (line.state, line.fix) == (BAD, "git add -A && git commit -m start")
    with pytest.raises(CaddieError, match="git add -A"):
        start_run(tmp_path)


def test_a_folder_inside_another_repository_is_not_a_root(repo):
    (repo / "copy" / "base").mkdir(parents=True)
    line = doctor_lines(repo / "copy")["repository"]
    assert line.state == BAD
    assert "expected the top of a repository" in line.actual


@needs_root
def test_a_repository_of_another_user_names_the_command(repo, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    subprocess.run(["chown", "-R", "65534", str(repo)], check=True)
    line = doctor_lines(repo)["repository"]
    assert "another user" in line.actual
    assert line.fix == f"git config --global --add safe.directory {repo}"
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    subprocess.run(line.fix, shell=True, check=True)
    assert doctor_lines(repo)["base/"].state == GOOD


def test_the_commit_and_the_identity_are_checked(repo, monkeypatch):
    (repo / "base" / "model.py").write_text("half an edit")
    status, text = doctor(repo)
    assert "note  base/" in text
    assert "git config --global user.name" in text  # git has no identity in the tests: a note, as trials have their own
    shutil.rmtree(repo / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(repo.parent))
    assert "git init" in red_line(doctor(repo)[1], "repository")


def test_a_remote_must_answer(repo, tmp_path):
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    assert "answers" in doctor(repo, "--push", str(tmp_path / "remote.git"))[1]
    status, text = doctor(repo, "--push", str(tmp_path / "nowhere.git"))
    assert status == 2
    assert "git remote" in red_line(text, "push")
    _, text = doctor(repo, "--push", "https://me:secret@127.0.0.1:9/x.git")
    assert "secret" not in text

"""Removal of a run: nothing of it is left, nothing of another run is touched, and a run in use is refused."""

import shutil

import pytest
from helpers.runs import ledger_file, refs, run_command, start_run
from helpers.tiny_profile import git

from common import lock


@pytest.fixture
def root(repo):
    start_run(repo)
    start_run(repo, "other")
    return repo


def test_nothing_of_the_run_is_left(root):
    before = refs(root)
    done = run_command(root, "rm", "night", "--yes")
    assert done.returncode == 0, done.stdout
    assert not (root / "trials" / "night").exists()
    left = [line for line in before.splitlines() if "/night/" not in line]
    assert refs(root).splitlines() == left
    assert ledger_file(root, "other").exists()
    assert git(root, "status", "--porcelain") == ""


def test_a_run_in_use_is_refused_and_whole(root):
    with lock.acquire(root / "trials" / "night" / "lock"):
        done = run_command(root, "rm", "night", "--yes")
    assert done.returncode == 2
    assert "is in use by" in done.stdout
    assert ledger_file(root).exists()


def test_no_answer_deletes_nothing(root):
    assert run_command(root, "rm", "night").returncode != 0
    assert ledger_file(root).exists()


def test_branches_without_a_folder_are_a_run_too(root):
    shutil.rmtree(root / "trials" / "night")
    assert run_command(root, "rm", "night", "--yes").returncode == 0
    assert "/night/" not in refs(root)
    assert run_command(root, "rm", "night", "--yes").returncode == 2


def test_runs_lists_every_run(root):
    ledger_file(root, "other").write_bytes(b"no database at all, and long enough to be read as one" * 100)
    text = run_command(root, "runs").stdout
    assert "night" in text
    assert "tiny" in text

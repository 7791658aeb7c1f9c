"""Runs of the real base/ on the pocket corpus, their baseline measured once for all tests."""

import shutil
from pathlib import Path

import pytest
from helpers.pocket import short_pocket
from helpers.tiny_profile import ROOT, git

from common.state import State
from experiments.run.run import open_run
from experiments.trial.baseline import cpu_budget, measure_baseline


@pytest.fixture(scope="session")
def pocket_repo(tmp_path_factory) -> Path:
    """A copy of this repository's committed and uncommitted base/, with a run whose baseline is measured."""
    root = tmp_path_factory.mktemp("pocket") / "repo"
    root.mkdir()
    shutil.copytree(ROOT / "base", root / "base", ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".gitignore").write_text("shards/\ntrials/\n")
    (root / "shards").mkdir()
    (root / "shards" / "pocket").symlink_to(ROOT / "shards" / "pocket")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=start")
    with short_pocket():
        run = open_run(root, "night", "pocket", lambda *_: None)
        assert measure_baseline(run).state is State.BASELINE
        run.close()
    return root


@pytest.fixture(scope="module")
def pocket(pocket_repo, tmp_path_factory):
    """A run for the tests of one file, and its budget."""
    root = shutil.copytree(pocket_repo, tmp_path_factory.mktemp("pocket") / "repo", symlinks=True)
    with short_pocket():
        run = open_run(root, "night", "pocket", lambda *_: None)
        yield run, cpu_budget(run, run.ledger.row(0))
        run.close()

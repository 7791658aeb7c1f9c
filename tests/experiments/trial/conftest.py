"""Fixtures for tests of trials under a CPU budget."""

import shutil
from pathlib import Path

import pytest
from helpers.tiny_profile import git
from helpers.trials import LOOP, MODEL, PACED_PROFILE, WORK

from experiments.run.run import open_run
from experiments.tiers import PROFILES
from experiments.trial.baseline import cpu_budget, measure_baseline


@pytest.fixture(scope="session")
def paced_repo(blank_repo, tmp_path_factory) -> Path:
    """A repository with a run of the paced profile, whose baseline has been measured."""
    root = shutil.copytree(blank_repo, tmp_path_factory.mktemp("paced") / "repo", symlinks=True)
    model = root / MODEL
    model.write_text(model.read_text().replace(LOOP, LOOP + WORK))
    config = root / "base/config.py"
    config.write_text(config.read_text().replace('"smoothing": 0.5', '"smoothing": 4.0'))  # room for a gain
    git(root, "commit", "--quiet", "--all", "--message=work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROFILES, "tiny", PACED_PROFILE)
        opened = open_run(root, "night", "tiny", lambda *_: None)
        measure_baseline(opened)
        opened.close()
    return root


@pytest.fixture
def paced_profile(monkeypatch):
    """The paced profile in place of the tiny one."""
    monkeypatch.setitem(PROFILES, "tiny", PACED_PROFILE)


@pytest.fixture
def paced(paced_repo, paced_profile, tmp_path):
    """A copy of the paced run, and its CPU budget."""
    opened = open_run(shutil.copytree(paced_repo, tmp_path / "repo", symlinks=True), "night", "tiny", lambda *_: None)
    yield opened, cpu_budget(opened, measure_baseline(opened))
    opened.close()

"""Fixtures for tests of whole trials."""

import shutil
from pathlib import Path

import pytest

from experiments.run.run import Run, open_run


@pytest.fixture
def run_with_keep(kept_repo, tmp_path) -> Run:
    """A run with a measured baseline and one kept trial, the incumbent."""
    opened = open_run(shutil.copytree(kept_repo, tmp_path / "run", symlinks=True), "night", "tiny", lambda *_: None)
    yield opened
    opened.close()


@pytest.fixture
def repo_with_keep(kept_repo, tmp_path) -> Path:
    """A repository with a run that has one kept trial; no controller has it open."""
    return shutil.copytree(kept_repo, tmp_path / "kept", symlinks=True)

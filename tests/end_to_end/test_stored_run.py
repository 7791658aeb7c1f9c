"""A run that an earlier caddie made goes on: its ledger and its branches as they were at 9d68b0e (2026-11-30)."""

import contextlib
import json
import sqlite3
import subprocess

import pytest
from helpers.tiny_profile import ROOT, git, proposal

from common.state import State
from experiments.ledger.store import Ledger
from experiments.loop.recovery import recover
from experiments.run.run import open_run
from experiments.runner.job import UNLIMITED
from experiments.trial.trial import run_trial

STORED = ROOT / "tests" / "fixtures" / "stored_run"


@pytest.fixture
def stored(tiny_corpus, tmp_path):
    """The repository of that run, with its branches, and its ledger; logs, weights and losses are not kept."""
    root = tmp_path / "stored"
    subprocess.run(["git", "clone", "--quiet", "--mirror", str(STORED / "run.bundle"), str(root / ".git")], check=True)
    git(root, "config", "core.bare", "false")
    git(root, "checkout", "--quiet", "main")
    folder = root / "trials" / "night"
    folder.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite")) as connection:
        connection.executescript((STORED / "ledger.sql").read_text(encoding="utf-8"))
    (root / "shards").mkdir()
    (root / "shards" / "tiny").symlink_to(tiny_corpus.folder)
    return root


def test_its_rows_and_measurements_are_read(stored):
    with contextlib.closing(Ledger(stored / "trials" / "night" / "ledger.sqlite")) as ledger:
        assert [row.state for row in ledger.rows()] == [State.BASELINE, State.KEPT, State.DISCARDED, State.BAD_DIFF]
        assert ledger.incumbent().title == "more text"
        counts = [len(ledger.measurements(row.number)) for row in ledger.rows()]
        assert counts == [5, 4, 1, 0]
        assert all(one.val_bpb > 0 and one.honesty.places for number in (0, 1) for one in ledger.measurements(number))


@pytest.mark.trial
def test_it_goes_on_from_its_incumbent(stored):
    run = open_run(stored, "night", "tiny", lambda *_: None)
    try:
        assert recover(run) == []
        kept = run.ledger.incumbent()
        assert run.workspace.best() == kept.commit_id
        again = json.loads(proposal(run, ("base/config.py", '"smoothing": 0.5', '"smoothing": 500.0')))
        assert run_trial(run, json.dumps(again), UNLIMITED).state is State.DUPLICATE  # it was tried then
        row = run_trial(run, proposal(run, ("base/config.py", '"smoothing": 0.5', '"smoothing": 400.0')), UNLIMITED)
        assert row.number == 5
        assert row.state.judged, row.detail
        assert row.parent == kept.commit_id
    finally:
        run.close()

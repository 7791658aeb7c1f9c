"""A run that is pushed while it runs, lost, brought back elsewhere, and gone on with."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from support import ROOT, git, proposal

from data.errors import CaddieError, WorkspaceError
from data.state import State
from experiments import mirror
from experiments.loop import open_bench, recover
from experiments.push import Pusher
from experiments.trial import run_trial
from experiments.workspace import without_credentials

BETTER = ("base/config.py", '"iterations": 4', '"iterations": 40')
WORSE = ("base/config.py", '"smoothing": 0.5', '"smoothing": 500.0')


@pytest.fixture
def remote(tmp_path):
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    return tmp_path / "remote.git"


@pytest.fixture
def elsewhere(bench, tmp_path):
    """Another machine: a clone of the project, the corpus, no run."""
    root = tmp_path / "elsewhere"
    subprocess.run(["git", "clone", "--quiet", "--branch", "main", bench.workspace.root, root], check=True)
    shutil.copytree(bench.workspace.root / "shards", root / "shards", symlinks=True)
    return root


def exported(ledger):
    return [mirror.export(ledger, row.number) for row in ledger.rows()]


@pytest.mark.trial
def test_a_run_comes_back_with_its_incumbent_and_history_and_goes_on(bench, budget, remote, elsewhere):
    told = []
    pusher = Pusher(bench, str(remote), told.append)
    run_trial(bench, proposal(bench, BETTER, title="more text"), budget)
    pusher.wake()
    run_trial(bench, proposal(bench, WORSE, title="too smooth"), budget)
    pusher.wake()
    pusher.finish()
    assert told == []
    before, best = exported(bench.ledger), bench.workspace.best()
    assert best == bench.ledger.row(1).commit_id
    shutil.rmtree(bench.folder)  # the machine is gone

    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "experiments", "restore", str(remote), "night", "--root", str(elsewhere)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 trials are back" in done.stdout
    assert "too smooth" in done.stdout

    again = open_bench(elsewhere, "night", "tiny", lambda *_: None)
    assert exported(again.ledger) == before
    assert again.workspace.best() == best
    assert (again.trial_folder(1) / "train_gpt.py").exists()
    assert recover(again) == []
    assert run_trial(again, proposal(again, WORSE, title="the same again"), budget).state is State.DUPLICATE
    smoother = (*WORSE[:2], '"smoothing": 400.0')
    row = run_trial(again, proposal(again, smoother, title="less smooth"), budget)
    assert (row.number, row.state, row.parent) == (4, State.DISCARDED, best)
    next_night = Pusher(again, str(remote), told.append)
    next_night.wake()
    next_night.finish()
    assert told == []
    assert git(remote, "rev-parse", "refs/heads/experiments/night/0004") == row.commit_id
    history = git(remote, "log", "--format=%s", mirror.ref("night")).splitlines()
    assert len(history) >= 2  # it only grows
    again.close()


def test_the_mirror_only_grows_and_holds_what_has_settled(bench):
    assert mirror.update(bench.workspace, bench.ledger)
    first = bench.workspace.resolve(mirror.ref("night"))
    assert not mirror.update(bench.workspace, bench.ledger)
    number = bench.intent("under way", "none", bench.workspace.best(), hypothesis="", proposal="{}")
    assert not mirror.update(bench.workspace, bench.ledger)
    bench.ledger.settle(number, State.INFRA)
    assert mirror.update(bench.workspace, bench.ledger)
    second = bench.workspace.resolve(mirror.ref("night"))
    assert git(bench.workspace.root, "rev-parse", f"{second}^") == first
    files = bench.workspace.listing(second)
    assert set(files) == {"calls.json", "facts.json", "trials/0000.json", "trials/0001.json"}
    assert json.loads(bench.workspace.blob(files["trials/0000.json"])) == mirror.export(bench.ledger, 0)


def test_a_remote_that_fails_is_told_once_and_made_up_for(bench, tmp_path):
    told = []
    pusher = Pusher(bench, str(tmp_path / "remote.git"), told.append)
    for _ in range(2):
        pusher.wake()
        while pusher.woken.is_set() or not pusher.problem:
            pusher.thread.join(0.01)
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    pusher.finish()
    assert len(told) == 2
    assert "tried again" in told[0]
    assert "works again" in told[1]
    assert git(tmp_path / "remote.git", "rev-parse", mirror.ref("night"))


def test_two_machines_under_one_name_are_told_apart(bench, remote, elsewhere):
    mirror.update(bench.workspace, bench.ledger)
    bench.workspace.push(str(remote))
    mirror.restore(elsewhere, "night", str(remote))
    other = open_bench(elsewhere, "night", "tiny", lambda *_: None)
    for one in (bench, other):
        number = one.intent("mine", "none", one.workspace.best(), hypothesis="", proposal="{}")
        one.ledger.settle(number, State.INFRA, detail=str(one.folder))
        mirror.update(one.workspace, one.ledger)
    bench.workspace.push(str(remote))
    with pytest.raises(WorkspaceError, match="rejected|non-fast-forward"):
        other.workspace.push(str(remote))
    other.close()


def test_restore_refuses_what_would_lose_something(bench, remote, elsewhere):
    with pytest.raises(CaddieError, match="is here already"):
        mirror.restore(bench.workspace.root, "night", str(remote))
    with pytest.raises(CaddieError, match="--push"):
        mirror.restore(elsewhere, "night", str(remote))
    with pytest.raises(WorkspaceError, match="does not appear to be a git repository|not found"):
        mirror.restore(elsewhere, "night", str(elsewhere / "nowhere"))
    assert not (elsewhere / "trials" / "night" / "ledger.sqlite").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"number); DROP": 1}, "expected columns"),
        ({"parent": "--output=/tmp/overwritten"}, "40 digits"),
        ({"state": "glorious"}, "glorious"),
        ({"number": None}, "expected a ledger mirror"),
    ],
)
def test_a_mirror_that_was_tampered_with_is_one_line(bench, remote, elsewhere, change, words):
    mirror.update(bench.workspace, bench.ledger)
    head = bench.workspace.resolve(mirror.ref("night"))
    record = mirror.export(bench.ledger, 0)
    record["trials"][0] |= change
    if change == {"number": None}:
        record = {"trials": "?"}
    bench.workspace.record(mirror.ref("night"), {"trials/0000.json": json.dumps(record).encode()}, head, "evil")
    bench.workspace.push(str(remote))
    with pytest.raises(CaddieError, match=words) as caught:
        mirror.restore(elsewhere, "night", str(remote))
    assert len(str(caught.value).splitlines()) == 1
    assert not (elsewhere / "trials" / "night" / "ledger.sqlite").exists()


def test_credentials_are_not_shown():
    text = "fatal: unable to access 'https://me:secret@host/x.git/'"
    assert without_credentials(text) == "fatal: unable to access 'https://…@host/x.git/'"


def test_a_remeasurement_is_pushed_with_the_trial_that_asked_for_it(bench):
    """Were that trial lost, a restored run would take its number again, and its seeds with it."""
    like = bench.ledger.measurements(0)[0]
    before = len(mirror.export(bench.ledger, 0)["measurements"])
    number = bench.intent("asks", "data", bench.workspace.best(), hypothesis="", proposal="{}")
    bench.ledger.add_measurement(0, "full", "dev", like, fresh_for=number)
    assert len(mirror.export(bench.ledger, 0)["measurements"]) == before
    bench.ledger.settle(number, State.REVERTED)
    assert len(mirror.export(bench.ledger, 0)["measurements"]) == before + 1

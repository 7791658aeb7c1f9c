"""Pushing: a run that is pushed while it runs, lost, restored on another machine, and continued there."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from helpers.tiny_profile import ROOT, git, proposal

from common.errors import CaddieError, WorkspaceError
from common.state import State
from experiments.ledger import mirror
from experiments.loop.push import Pusher
from experiments.loop.recovery import recover
from experiments.repo.repository import without_credentials
from experiments.run.run import open_run
from experiments.trial.trial import run_trial

BETTER = ("base/config.py", '"iterations": 4', '"iterations": 40')
WORSE = ("base/config.py", '"smoothing": 0.5', '"smoothing": 500.0')


@pytest.fixture
def remote(tmp_path):
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    return tmp_path / "remote.git"


@pytest.fixture
def elsewhere(run, tmp_path):
    """Another machine: a clone of the project, the corpus, no run."""
    root = tmp_path / "elsewhere"
    subprocess.run(["git", "clone", "--quiet", "--branch", "main", run.workspace.root, root], check=True)
    shutil.copytree(run.workspace.root / "shards", root / "shards", symlinks=True)
    return root


def exported(ledger):
    return [mirror.export(ledger, row.number) for row in ledger.rows()]


@pytest.mark.slow
@pytest.mark.trial
def test_a_restored_run_has_its_incumbent_and_history_and_continues(run, budget, remote, elsewhere):
    messages = []
    pusher = Pusher(run, str(remote), messages.append)
    run_trial(run, proposal(run, BETTER, title="more text"), budget)
    pusher.wake()
    run_trial(run, proposal(run, WORSE, title="too smooth"), budget)
    pusher.wake()
    pusher.finish()
    assert messages == []
    before, best = exported(run.ledger), run.workspace.best()
    assert best == run.ledger.row(1).commit_id
    shutil.rmtree(run.folder)  # the machine is gone

    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "experiments", "restore", str(remote), "night", "--root", str(elsewhere)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 trials are restored" in done.stdout
    assert "too smooth" in done.stdout

    again = open_run(elsewhere, "night", "tiny", lambda *_: None)
    assert exported(again.ledger) == before
    assert again.workspace.best() == best
    assert (again.trial_folder(1) / "train_gpt.py").exists()
    assert recover(again) == []
    assert run_trial(again, proposal(again, WORSE, title="the same again"), budget).state is State.DUPLICATE
    smoother = (*WORSE[:2], '"smoothing": 400.0')
    row = run_trial(again, proposal(again, smoother, title="less smooth"), budget)
    assert (row.number, row.state, row.parent) == (4, State.DISCARDED, best)
    next_pusher = Pusher(again, str(remote), messages.append)
    next_pusher.wake()
    next_pusher.finish()
    assert messages == []
    assert git(remote, "rev-parse", "refs/caddie/night/trials/0004") == row.commit_id
    history = git(remote, "log", "--format=%s", mirror.ref("night")).splitlines()
    assert len(history) >= 2  # it only grows
    again.close()


def test_the_mirror_only_grows_and_holds_what_has_settled(run):
    assert mirror.update(run.workspace, run.ledger)
    first = run.workspace.resolve(mirror.ref("night"))
    assert not mirror.update(run.workspace, run.ledger)
    number = run.begin_trial("under way", "none", run.workspace.best(), hypothesis="", proposal="{}")
    assert not mirror.update(run.workspace, run.ledger)
    run.ledger.settle(number, State.INFRA)
    assert mirror.update(run.workspace, run.ledger)
    second = run.workspace.resolve(mirror.ref("night"))
    assert git(run.workspace.root, "rev-parse", f"{second}^") == first
    files = run.workspace.listing(second)
    assert set(files) == {"calls.json", "facts.json", "trials/0000.json", "trials/0001.json"}
    assert json.loads(run.workspace.blob(files["trials/0000.json"])) == mirror.export(run.ledger, 0)


def test_a_failing_remote_is_reported_once_and_made_up_for(run, tmp_path):
    messages = []
    pusher = Pusher(run, str(tmp_path / "remote.git"), messages.append)
    for _ in range(2):
        pusher.wake()
        while pusher.wake_event.is_set() or not pusher.problem:
            pusher.thread.join(0.01)
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    pusher.finish()
    assert len(messages) == 2
    assert "tried again" in messages[0]
    assert "works again" in messages[1]
    assert git(tmp_path / "remote.git", "rev-parse", mirror.ref("night"))


def test_a_second_machine_with_the_same_run_cannot_push(run, remote, elsewhere):
    mirror.update(run.workspace, run.ledger)
    run.workspace.push(str(remote))
    mirror.restore(elsewhere, "night", str(remote))
    other = open_run(elsewhere, "night", "tiny", lambda *_: None)
    for machine in (run, other):
        number = machine.begin_trial("mine", "none", machine.workspace.best(), hypothesis="", proposal="{}")
        machine.ledger.settle(number, State.INFRA, detail=str(machine.folder))
        mirror.update(machine.workspace, machine.ledger)
    run.workspace.push(str(remote))
    with pytest.raises(WorkspaceError, match="rejected|non-fast-forward"):
        other.workspace.push(str(remote))
    other.close()


def test_restore_refuses_what_would_lose_something(run, remote, elsewhere):
    with pytest.raises(CaddieError, match="already exists"):
        mirror.restore(run.workspace.root, "night", str(remote))
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
def test_a_mirror_that_was_tampered_with_is_one_line(run, remote, elsewhere, change, words):
    mirror.update(run.workspace, run.ledger)
    head = run.workspace.resolve(mirror.ref("night"))
    record = mirror.export(run.ledger, 0)
    record["trials"][0] |= change
    if change == {"number": None}:
        record = {"trials": "?"}
    run.workspace.commit_files(mirror.ref("night"), {"trials/0000.json": json.dumps(record).encode()}, head, "evil")
    run.workspace.push(str(remote))
    with pytest.raises(CaddieError, match=words) as caught:
        mirror.restore(elsewhere, "night", str(remote))
    assert len(str(caught.value).splitlines()) == 1
    assert not (elsewhere / "trials" / "night" / "ledger.sqlite").exists()


def test_credentials_are_not_shown():
    text = "fatal: unable to access 'https://me:secret@host/x.git/'"
    assert without_credentials(text) == "fatal: unable to access 'https://…@host/x.git/'"


def test_a_remeasurement_is_pushed_with_the_trial_that_asked_for_it(run):
    """If that trial were lost, a restored run would use its number again, and its seeds with it."""
    measurement = run.ledger.measurements(0)[0]
    before = len(mirror.export(run.ledger, 0)["measurements"])
    number = run.begin_trial("asks", "data", run.workspace.best(), hypothesis="", proposal="{}")
    run.ledger.add_measurement(0, "full", "dev", measurement, fresh_for=number)
    assert len(mirror.export(run.ledger, 0)["measurements"]) == before
    run.ledger.settle(number, State.REVERTED)
    assert len(mirror.export(run.ledger, 0)["measurements"]) == before + 1

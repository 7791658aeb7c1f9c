"""The controller: whole runs on real git repositories, processes and sandboxes, with the torch-free base/."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from statistics import fmean

import pytest
from helpers.tiny_profile import ROOT, git, proposal

from common.errors import MachineError, SandboxError
from common.state import State
from experiments.loop import controller
from experiments.loop.recovery import recover, settle_stopped
from experiments.proposal.options import ProposerOptions
from experiments.run.request import RunRequest
from experiments.run.run import open_run
from experiments.trial.baseline import measure_baseline
from experiments.trial.measure import Entry, measure
from experiments.trial.trial import run_trial

BETTER = ("base/config.py", '"iterations": 4', '"iterations": 40')
WORSE = ("base/config.py", '"smoothing": 0.5', '"smoothing": 500.0')


@pytest.mark.slow
def test_a_better_idea_is_kept_and_becomes_the_incumbent(run, budget):
    start = run.workspace.best()
    row = run_trial(run, proposal(run, BETTER, title="more text"), budget)
    assert row.state is State.KEPT, row.detail
    assert row.delta_bpb < 0.0
    assert run.workspace.best() == row.commit_id
    message = git(run.workspace.root, "log", "-1", "--format=%B", "experiments/night/best")
    trailers = dict(
        line.split(": ", 1)
        for line in git(run.workspace.root, "log", "-1", "--format=%(trailers)", row.commit_id).splitlines()
    )
    assert message.startswith("trial 0001: more text")
    assert trailers["Verdict"] == "kept"
    assert trailers["Parent"] == start
    assert trailers["Tree"] == git(run.workspace.root, "rev-parse", "refs/caddie/night/0001")
    assert float(trailers["Val-BPB"]) == pytest.approx(row.val_bpb, abs=1e-6)
    assert set(trailers) == {
        *("Trial", "Parent", "Val-BPB", "Delta", "Artifact-Bytes", "Train-Seconds", "Score-Seconds"),
        *("Seeds", "Verdict", "Tree"),
    }


def test_a_worse_idea_is_discarded_and_leaves_the_incumbent(run, budget):
    start = run.workspace.best()
    row = run_trial(run, proposal(run, WORSE), budget)
    assert row.state is State.DISCARDED
    assert run.workspace.best() == start
    assert git(run.workspace.root, "rev-parse", "caddie/night/trials/0001") == row.commit_id
    assert git(run.workspace.root, "branch", "--list", "experiments/night/0*") == ""


def test_the_same_tree_gives_the_same_artifact_and_score(run, budget):
    first = run.ledger.measurements(0)[0]
    number = run.begin_trial("again", "none", run.workspace.best(), hypothesis="", proposal="{}")
    folder = run.trial_folder(number)
    folder.mkdir()
    program = run.trial_folder(0) / "train_gpt.py"
    (folder / "train_gpt.py").write_bytes(program.read_bytes())
    again = measure(run, Entry(number, "again", folder / "train_gpt.py", budget), run.tier, first.seed)
    assert (again.val_bpb, again.artifact_sha256) == (first.val_bpb, first.artifact_sha256)


@pytest.mark.slow
def test_the_users_checkout_index_hooks_and_branches_are_untouched(run, budget):
    root = run.workspace.root
    for hook in ("pre-commit", "reference-transaction", "commit-msg", "post-commit", "post-checkout"):
        path = root / ".git" / "hooks" / hook
        path.write_text("#!/bin/sh\nexit 1\n")
        path.chmod(0o755)
    git(root, "config", "commit.gpgsign", "true")
    git(root, "config", "gpg.program", "/bin/false")
    (root / "base" / "model.py").write_text("half an edit")  # work in progress
    (root / "note.txt").write_text("mine")
    subprocess.run(["git", "add", "note.txt"], cwd=root, check=True)
    before = {name: git(root, *name.split()) for name in ("status --porcelain", "symbolic-ref HEAD", "rev-parse main")}
    index = (root / ".git" / "index").read_bytes()

    row = run_trial(run, proposal(run, BETTER), budget)
    assert row.state is State.KEPT
    assert (root / ".git" / "index").read_bytes() == index
    assert {name: git(root, *name.split()) for name in before} == before
    assert (root / "base" / "model.py").read_text() == "half an edit"
    branches = git(root, "branch", "--format=%(refname:short)").splitlines()
    assert sorted(branches) == ["experiments/night/0001", "experiments/night/best", "main"]


@pytest.mark.trial
def test_an_unchanged_and_a_repeated_tree_are_refused_before_they_run(run, budget):
    comment = ("base/config.py", "VOCAB = 1024", "VOCAB = 1024  # rows of the table")
    assert run_trial(run, proposal(run, comment), budget).state is State.NO_OP
    assert run_trial(run, proposal(run, WORSE), budget).state is State.DISCARDED
    row = run_trial(run, proposal(run, WORSE, title="again"), budget)
    assert row.state is State.DUPLICATE
    assert "trial 0002" in row.detail


def test_a_knob_that_this_profile_overrides_is_a_no_op(run, budget):
    edit = ("base/config.py", '"batch_tokens": 4096', '"batch_tokens": 8192')
    row = run_trial(run, proposal(run, edit), budget)
    assert row.state is State.NO_OP
    assert "no knob" in row.detail


def test_a_stale_proposal_is_refused(run, budget):
    row = run_trial(run, proposal(run, BETTER, parent="0" * 40), budget)
    assert row.state is State.BAD_DIFF
    assert "propose again" in row.detail


def write_script(folder, run, count):
    folder.mkdir()
    for i in range(count):
        edit = ("base/config.py", '"smoothing": 0.5', f'"smoothing": {2.0 + i}')
        fields = json.loads(proposal(run, edit, title=f"idea {i}"))
        del fields["parent"]
        (folder / f"{i:02d}.json").write_text(json.dumps(fields))


def replay(script, trials):
    return RunRequest(trials=trials, proposer=ProposerOptions("scripted", script))


@pytest.mark.slow
@pytest.mark.trial
def test_ten_scripted_trials_give_ten_commits_and_ten_settled_rows(run, tmp_path):
    write_script(tmp_path / "script", run, 10)
    rows = []
    reason = controller.run(run, replay(tmp_path / "script", 11), rows.append)
    assert "all 10 proposals" in reason
    settled = run.ledger.rows()[1:]
    assert len(settled) == 10
    assert all(row.settled_at and row.state in (State.KEPT, State.DISCARDED) for row in settled)
    commits = git(run.workspace.root, "for-each-ref", "--format=%(objectname)", "refs/caddie/night/trials/")
    assert len(set(commits.splitlines())) == 10
    assert [row.commit_id for row in settled] == commits.splitlines()


@pytest.mark.slow
@pytest.mark.trial
def test_kill_9_loses_only_the_running_trial_and_counts_none_twice(repo, tmp_path):
    """The loop as a process, killed in the middle of a trial, continues under the same name."""
    run = open_run(repo, "night", "tiny", lambda *_: None)
    script = tmp_path / "script"
    write_script(script, run, 3)
    run.close()
    program = (
        "import sys; sys.path[:0] = [{root!r}, {tests!r}]; import helpers.tiny_profile; from pathlib import Path\n"
        "from experiments.loop import controller\n"
        "from experiments.proposal.options import ProposerOptions\n"
        "from experiments.run.request import RunRequest\n"
        "from experiments.run.run import open_run\n"
        "b = open_run(Path({repo!r}), 'night', 'tiny', lambda n, t, s: print(n, s, flush=True))\n"
        "request = RunRequest(trials=9, proposer=ProposerOptions('scripted', Path({script!r})))\n"
        "controller.run(b, request, lambda row: None)"
    ).format(root=str(ROOT), tests=str(ROOT / "tests"), repo=str(repo), script=str(script))
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("2 measure"):
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()

    run = open_run(repo, "night", "tiny", lambda *_: None)
    assert [row.number for row in run.ledger.unsettled()] == [2]
    assert [row.number for row in recover(run)] == [2]
    controller.run(run, replay(script, 9), lambda row: None)
    rows = run.ledger.rows()
    assert [row.state is State.INFRA for row in rows] == [False, False, True, False, False]
    assert [row.title for row in rows[1:]] == ["idea 0", "idea 1", "idea 1", "idea 2"]
    run.close()


class Failing:
    """A runner that raises an error after some measurements: of a failing machine, or Ctrl-C."""

    def __init__(self, runner, after, error):
        self.runner, self.remaining, self.error = runner, after, error

    def measure(self, job):
        self.remaining -= 1
        if self.remaining < 0:
            raise self.error
        return self.runner.measure(job)


@pytest.mark.slow
def test_a_baseline_that_a_crash_interrupted_keeps_its_seeds(repo):
    run = open_run(repo, "night", "tiny", lambda *_: None)
    seeds = []
    broken = dataclasses.replace(run, runner=Failing(run.runner, 1, OSError("the machine went away")))
    with pytest.raises(MachineError, match="the machine went away"):
        measure_baseline(broken, lambda: seeds.append(1))
    with pytest.raises(KeyboardInterrupt):
        measure_baseline(
            dataclasses.replace(run, runner=Failing(run.runner, 1, KeyboardInterrupt())), lambda: seeds.append(1)
        )
    settle_stopped(run)
    assert [row.state for row in run.ledger.rows()] == [State.INFRA, State.STOPPED]
    before = run.ledger.measurements(1)
    assert run.ledger.measurement_rows(0) == []
    row = measure_baseline(run)
    assert (row.number, row.state, len(seeds)) == (2, State.BASELINE, 2)
    measurements = run.ledger.measurements(2)
    assert measurements[:2] == before
    assert len({measurement.seed for measurement in measurements}) == run.tier.rule.seeds
    assert row.val_bpb == pytest.approx(fmean(measurement.val_bpb for measurement in measurements))
    run.close()


@pytest.mark.slow
def test_programs_that_look_like_a_failing_machine_do_not_end_a_run(run, tmp_path):
    """Four failures of the sandbox in a row do not, while the baseline's own program runs; a missing disk does."""
    write_script(tmp_path / "script", run, 2)
    messages = []
    broken = dataclasses.replace(run, runner=Failing(run.runner, 0, SandboxError("ended from outside")))
    reason = controller.run(broken, replay(tmp_path / "script", 9), lambda row: None, messages.append)
    assert "all 2 proposals" in reason
    assert [row.state for row in run.ledger.rows()][1:] == [State.INFRA] * 4
    assert [line for line in messages if "the ideas caused these failures" in line]
    write_script(tmp_path / "more", run, 5)
    broken = dataclasses.replace(run, runner=Failing(run.runner, 0, OSError("the disk is gone")))
    with pytest.raises(MachineError, match="3 failures in a row.*the disk is gone"):
        controller.run(broken, replay(tmp_path / "more", 9), lambda row: None)

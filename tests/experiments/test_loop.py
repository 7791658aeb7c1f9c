"""Whole runs on real git repositories, real processes and real sandboxes, with the torch-free base/."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from statistics import fmean

import pytest
from support import ROOT, git, proposal

from data.errors import MachineError, SandboxError
from data.state import State
from experiments.baseline import baseline
from experiments.ledger import Ledger
from experiments.loop import open_bench, recover, run, stopped
from experiments.measurement import Entry, measure
from experiments.trial import run_trial

BETTER = ("base/config.py", '"iterations": 4', '"iterations": 40')
WORSE = ("base/config.py", '"smoothing": 0.5', '"smoothing": 500.0')


def test_a_better_idea_is_kept_and_becomes_the_incumbent(bench, budget):
    start = bench.workspace.best()
    row = run_trial(bench, proposal(bench, BETTER, title="more text"), budget)
    assert row.state is State.KEPT, row.detail
    assert row.delta_bpb < 0.0
    assert bench.workspace.best() == row.commit_id
    message = git(bench.workspace.root, "log", "-1", "--format=%B", "experiments/night/best")
    trailers = dict(
        line.split(": ", 1)
        for line in git(bench.workspace.root, "log", "-1", "--format=%(trailers)", row.commit_id).splitlines()
    )
    assert message.startswith("trial 0001: more text")
    assert trailers["Verdict"] == "kept"
    assert trailers["Parent"] == start
    assert trailers["Tree"] == git(bench.workspace.root, "rev-parse", "refs/caddie/night/0001")
    assert float(trailers["Val-BPB"]) == pytest.approx(row.val_bpb, abs=1e-6)
    assert set(trailers) == {
        *("Trial", "Parent", "Val-BPB", "Delta", "Artifact-Bytes", "Train-Seconds", "Score-Seconds"),
        *("Seeds", "Verdict", "Tree"),
    }


def test_a_worse_idea_is_discarded_and_leaves_the_incumbent(bench, budget):
    start = bench.workspace.best()
    row = run_trial(bench, proposal(bench, WORSE), budget)
    assert row.state is State.DISCARDED
    assert bench.workspace.best() == start
    assert git(bench.workspace.root, "rev-parse", "experiments/night/0001") == row.commit_id


def test_the_same_tree_gives_the_same_artifact_and_score(bench, budget):
    first = bench.ledger.measurements(0)[0]
    number = bench.intent("again", "none", bench.workspace.best(), hypothesis="", proposal="{}")
    folder = bench.trial_folder(number)
    folder.mkdir()
    program = bench.trial_folder(0) / "train_gpt.py"
    (folder / "train_gpt.py").write_bytes(program.read_bytes())
    again = measure(bench, Entry(number, "again", folder / "train_gpt.py", budget), bench.tier, first.seed)
    assert (again.val_bpb, again.artifact_sha256) == (first.val_bpb, first.artifact_sha256)


def test_the_persons_checkout_index_hooks_and_branches_are_untouched(bench, budget):
    root = bench.workspace.root
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

    row = run_trial(bench, proposal(bench, BETTER), budget)
    assert row.state is State.KEPT
    assert (root / ".git" / "index").read_bytes() == index
    assert {name: git(root, *name.split()) for name in before} == before
    assert (root / "base" / "model.py").read_text() == "half an edit"
    branches = git(root, "branch", "--format=%(refname:short)").splitlines()
    assert sorted(branches) == ["experiments/night/0001", "experiments/night/best", "main"]


@pytest.mark.trial
def test_an_unchanged_and_a_repeated_tree_are_refused_before_they_run(bench, budget):
    comment = ("base/model.py", "VOCAB = 1024", "VOCAB = 1024  # rows of the table")
    assert run_trial(bench, proposal(bench, comment), budget).state is State.NO_OP
    assert run_trial(bench, proposal(bench, WORSE), budget).state is State.DISCARDED
    row = run_trial(bench, proposal(bench, WORSE, title="again"), budget)
    assert row.state is State.DUPLICATE
    assert "trial 0002" in row.detail


def test_a_knob_that_this_profile_overrides_is_a_no_op(bench, budget):
    edit = ("base/config.py", '"batch_tokens": 4096', '"batch_tokens": 8192')
    row = run_trial(bench, proposal(bench, edit), budget)
    assert row.state is State.NO_OP
    assert "no knob" in row.detail


def test_a_stale_proposal_is_refused(bench, budget):
    row = run_trial(bench, proposal(bench, BETTER, parent="0" * 40), budget)
    assert row.state is State.BAD_DIFF
    assert "propose again" in row.detail


def write_script(folder, bench, count):
    folder.mkdir()
    for i in range(count):
        edit = ("base/config.py", '"smoothing": 0.5', f'"smoothing": {2.0 + i}')
        made = json.loads(proposal(bench, edit, title=f"idea {i}"))
        del made["parent"]
        (folder / f"{i:02d}.json").write_text(json.dumps(made))


@pytest.mark.trial
def test_ten_scripted_trials_give_ten_commits_and_ten_settled_rows(bench, tmp_path):
    write_script(tmp_path / "script", bench, 10)
    rows = []
    reason = run(bench, "scripted", 11, 1.0, rows.append, ("--script", str(tmp_path / "script")))
    assert "all 10 proposals" in reason
    settled = bench.ledger.rows()[1:]
    assert len(settled) == 10
    assert all(row.settled_at and row.state in (State.KEPT, State.DISCARDED) for row in settled)
    commits = git(bench.workspace.root, "for-each-ref", "--format=%(objectname)", "refs/heads/experiments/night/0*")
    assert len(set(commits.splitlines())) == 10
    assert [row.commit_id for row in settled] == commits.splitlines()


@pytest.mark.trial
def test_kill_9_loses_only_the_running_trial_and_counts_none_twice(repo, tmp_path):
    """The loop as a process, killed in the middle of a trial, goes on under the same name."""
    bench = open_bench(repo, "night", "tiny", lambda *_: None)
    script = tmp_path / "script"
    write_script(script, bench, 3)
    bench.close()
    program = (
        "import sys; sys.path[:0] = [{root!r}, {tests!r}]; import support; from pathlib import Path\n"
        "from experiments.loop import open_bench, run\n"
        "b = open_bench(Path({repo!r}), 'night', 'tiny', lambda n, t, s: print(n, s, flush=True))\n"
        "run(b, 'scripted', 9, 1.0, lambda row: None, ('--script', {script!r}))"
    ).format(root=str(ROOT), tests=str(ROOT / "tests"), repo=str(repo), script=str(script))
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.split() == ["2", "measure"]:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()

    bench = open_bench(repo, "night", "tiny", lambda *_: None)
    assert [row.number for row in bench.ledger.unsettled()] == [2]
    assert [row.number for row in recover(bench)] == [2]
    run(bench, "scripted", 9, 1.0, lambda row: None, ("--script", str(script)))
    rows = bench.ledger.rows()
    assert [row.state is State.INFRA for row in rows] == [False, False, True, False, False]
    assert [row.title for row in rows[1:]] == ["idea 0", "idea 1", "idea 1", "idea 2"]
    bench.close()


class Failing:
    """A runner whose machine goes away after some measurements, or whose person presses Ctrl-C."""

    def __init__(self, runner, after, error):
        self.runner, self.left, self.error = runner, after, error

    def measure(self, job):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return self.runner.measure(job)


def test_a_baseline_that_a_crash_interrupted_keeps_its_seeds(repo):
    bench = open_bench(repo, "night", "tiny", lambda *_: None)
    heard = []
    broken = dataclasses.replace(bench, runner=Failing(bench.runner, 1, OSError("the machine went away")))
    with pytest.raises(MachineError, match="the machine went away"):
        baseline(broken, lambda: heard.append(1))
    with pytest.raises(KeyboardInterrupt):
        baseline(
            dataclasses.replace(bench, runner=Failing(bench.runner, 1, KeyboardInterrupt())), lambda: heard.append(1)
        )
    stopped(bench)
    assert [row.state for row in bench.ledger.rows()] == [State.INFRA, State.STOPPED]
    measured = [one.measured for one in bench.ledger.taken(1)]
    assert bench.ledger.taken(0) == []
    row = baseline(bench)
    assert (row.number, row.state, len(heard)) == (2, State.BASELINE, 2)
    taken = [one.measured for one in bench.ledger.taken(2)]
    assert taken[:2] == measured
    assert len({one.seed for one in taken}) == bench.tier.rule.seeds
    assert row.val_bpb == pytest.approx(fmean(one.val_bpb for one in taken))
    bench.close()


def test_programs_that_look_like_a_failing_machine_do_not_end_a_night(bench, tmp_path):
    """Four failures of the sandbox in a row, while the baseline's own program runs; a disk that is gone is another."""
    write_script(tmp_path / "script", bench, 2)
    arguments, said = ("--script", str(tmp_path / "script")), []
    broken = dataclasses.replace(bench, runner=Failing(bench.runner, 0, SandboxError("ended from outside")))
    reason = run(broken, "scripted", 9, 1.0, lambda row: None, arguments, say=said.append)
    assert "all 2 proposals" in reason
    assert [row.state for row in bench.ledger.rows()][1:] == [State.INFRA] * 4
    assert [line for line in said if "it was those ideas" in line]
    write_script(tmp_path / "more", bench, 5)
    broken = dataclasses.replace(bench, runner=Failing(bench.runner, 0, OSError("the disk is gone")))
    with pytest.raises(MachineError, match="3 failures in a row.*the disk is gone"):
        run(broken, "scripted", 9, 1.0, lambda row: None, ("--script", str(tmp_path / "more")))


def test_a_ledger_refuses_to_settle_twice(bench):
    ledger = Ledger(bench.ledger.path)
    with pytest.raises(Exception, match="settled already"):
        ledger.settle(0, State.DISCARDED)
    ledger.close()

"""Tests of judging a run again under another rule, also as a command."""

import dataclasses
import subprocess
import sys

import pytest
from helpers.tiny_profile import ROOT, TINY, proposal
from helpers.trials import EVEN_MORE_TEXT, WORSE

from experiments.analysis.rejudge import rejudge
from experiments.judge.rule import RULES, Step
from experiments.trial.trial import run_trial


@pytest.mark.slow
def test_a_run_judged_again_by_its_own_rule_gives_the_same_results(run_with_keep, budget):
    run = run_with_keep
    for edit in (WORSE, EVEN_MORE_TEXT, ("base/config.py", '"passes": 1', '"passes": 2')):
        run_trial(run, proposal(run, edit), budget)
    before = run.ledger.path.read_bytes()
    trials = list(rejudge(run.ledger, run.tier, TINY.rule))
    assert [(trial.row.number, str(trial.step)) for trial in trials] == [
        (row.number, str(row.state)) for row in run.ledger.rows()[1:]
    ]
    greedy = {trial.row.number: trial.step for trial in rejudge(run.ledger, run.tier, RULES["greedy"])}
    for trial in trials:
        assert greedy[trial.row.number] is (Step.KEPT if trial.evidence.search[0] < 0 else Step.DISCARDED)
    strict = dataclasses.replace(TINY.rule, fresh=9)
    assert {trial.step for trial in rejudge(run.ledger, run.tier, strict)} == {Step.FRESH, Step.DISCARDED}
    assert run.ledger.path.read_bytes() == before


def test_rejudge_verdict_and_status_as_commands(run_with_keep):
    run, kept = run_with_keep, run_with_keep.ledger.incumbent()
    root = run.workspace.root
    run.close()

    def run_command(*arguments):
        command = [sys.executable, "-m", "experiments", *arguments, "--root", str(root)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stdout

    code, text = run_command("rejudge", "night", "--rule", "fresh=0,keep_p=0.5")
    assert (code, "now: 1 kept" in text) == (0, True), text
    code, text = run_command("rejudge", "night", "--rule", "luck")
    assert (code, "--rule: got 'luck'" in text) == (2, True), text
    (root / "records").mkdir()
    (root / "records" / "frontier.json").write_bytes((ROOT / "records" / "frontier.json").read_bytes())
    code, text = run_command("verdict", str(kept.number), "--run", "night")
    assert code == 0, text
    assert "not met; missing:" in text
    assert "the baseline of run night" in text
    code, text = run_command("verdict", str(kept.number), "--run", "night", "--track", "track_10min_16mb")
    assert "run night scores another text" in text
    code, text = run_command("verdict", "--bpb", "1.0471", "--bpb", "1.0463", "--bpb", "1.0466")
    assert text.count(": met\n") == 2, text
    assert "missing" not in text
    code, text = run_command("status", "--run", "night")
    assert "noise floor" in text

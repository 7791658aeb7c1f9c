"""The budget of a run: it covers model and machine, and ends a run before it is exceeded."""

import dataclasses

import pytest
from helpers.proposers.llm_runs import SMOOTHER

from experiments.analysis import status
from experiments.costs import budget
from experiments.loop import controller
from experiments.proposal.options import ProposerOptions
from experiments.run.request import RunRequest
from experiments.run.run import open_run
from experiments.tiers import PROFILES


def test_a_budget_ends_a_run_cleanly(run, api, model):
    model.answers = [SMOOTHER]
    reason = controller.run(run, RunRequest(proposer=ProposerOptions("anthropic", budget_usd=0.01)), lambda _: None)
    assert "budget of $0.01 is used up" in reason
    assert not api.requests


def test_the_machine_counts_too_and_is_reserved_while_it_works(run):
    """A running trial counts at least what a trial may take, so that nothing else spends that money."""
    profile = dataclasses.replace(PROFILES["tiny"], dollars_per_hour=60.0)
    settled = budget.machine_dollars(run.ledger, profile)
    assert settled == pytest.approx(sum(status.main_stages(run.ledger, 0).values()) / 60)
    run.begin_trial("an idea", "architecture", run.workspace.best(), hypothesis="", proposal="{}")
    assert budget.machine_dollars(run.ledger, profile) == pytest.approx(settled + profile.longest_trial_minutes)
    assert budget.over_budget(run.ledger, profile, None, 1e9) == ""
    spent = settled + profile.longest_trial_minutes
    assert budget.over_budget(run.ledger, profile, spent + 1.001, 1.0) == ""
    assert "raise --budget-usd to continue" in budget.over_budget(run.ledger, profile, spent + 0.999, 1.0)


def test_a_baseline_that_would_exceed_the_budget_is_not_started(repo, monkeypatch):
    monkeypatch.setitem(PROFILES, "tiny", dataclasses.replace(PROFILES["tiny"], dollars_per_hour=1000.0))
    opened = open_run(repo, "night", "tiny", lambda *_: None)
    request = RunRequest(trials=3, hours=1.0, proposer=ProposerOptions("anthropic", budget_usd=1.0))
    assert "is used up: $0.00 spent" in controller.run(opened, request, lambda _: None)
    assert not opened.ledger.rows()
    opened.close()

"""Comparisons of any two trials: missing seeds are measured with the same data, across runs of one base too."""

import json
from contextlib import closing

import pytest
from helpers.programs import call_command
from helpers.tiny_profile import proposal

from common.errors import CaddieError
from experiments.analysis.comparison import missing, shared, side
from experiments.cli import app
from experiments.run.run import open_run, reopen
from experiments.trial.baseline import measure_baseline
from experiments.trial.trial import run_trial

WORSE = ("base/config.py", '"smoothing": 0.5', '"smoothing": 40.0')


def compare(run, *arguments):
    return json.loads(
        call_command(run, "compare", *arguments, "--run", "night", "--measure", "--json").splitlines()[-1]
    )


@pytest.mark.slow
def test_missing_seeds_are_measured(run, budget):
    row = run_trial(run, proposal(run, WORSE), budget)
    sides = [side("night", run.ledger, number) for number in (0, row.number)]
    assert len(missing(*sides)) == run.tier.rule.seeds - len(shared(*sides))
    found = compare(run, "0", str(row.number))
    assert len(found["paired_differences_bpb"]) == run.tier.rule.seeds
    with closing(reopen(run.workspace.root, "night", lambda *_: None)) as again:
        assert again.ledger.row(row.number) == row  # no verdict changes


@pytest.mark.slow
def test_runs_of_one_base_are_compared_on_common_seeds(run):
    """Equal trees on equal seeds and data give equal scores, whichever run measured them."""
    root = run.workspace.root
    with closing(open_run(root, "other", "tiny", lambda *_: None)) as other:
        measure_baseline(other)
        assert not shared(side("night", run.ledger, 0), side("other", other.ledger, 0))
    differences = compare(run, "night:0", "other:0")["paired_differences_bpb"]
    assert differences == [0.0] * 3


def test_sides_that_cannot_be_compared_are_one_line(run, monkeypatch):
    one = side("night", run.ledger, 0)
    with pytest.raises(CaddieError, match="expected a trial, such as 7 or night:7"):
        app.judging._side(run.workspace.root, "best", "night")
    import dataclasses

    other = dataclasses.replace(one, profile=dataclasses.replace(one.profile, corpus="another"))
    with pytest.raises(CaddieError, match="other profiles or corpora"):
        missing(one, other)

"""Tests of the lines that summarize a run."""

import dataclasses

import pytest

from common.state import State
from experiments.analysis.status import correlations


def test_rank_correlation_of_two_tiers_is_by_class(run):
    """One class has the same order at both tiers, the other class the reverse order."""
    baseline, (measured, *_) = run.ledger.row(0), run.ledger.measurements(0)
    run.ledger.add_measurement(0, "proxy", "dev", measured)
    for kind, sign in (("data", 1), ("optimizer", -1)):
        for i in range(6):
            number = run.begin_trial("t", kind, baseline.commit_id, hypothesis="", proposal="{}")
            for tier, shift in (("proxy", i), ("full", sign * i)):
                shifted = dataclasses.replace(measured, val_bpb=measured.val_bpb + 0.01 * shift)
                run.ledger.add_measurement(number, tier, "dev", shifted)
            run.ledger.settle(number, State.DISCARDED)
    by_class = {kind: (count, rho) for kind, count, rho in correlations(run.ledger, "proxy", "full")}
    assert by_class["data"] == (6, pytest.approx(1.0))
    assert by_class["optimizer"] == (6, pytest.approx(-1.0))
    assert by_class["all"][0] == 12
    assert abs(by_class["all"][1]) < 0.2

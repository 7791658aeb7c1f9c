"""Paired gains: each with its error and seeds, and a sum that counts what the judge kept and nothing else."""

from math import sqrt

import pytest

from common.state import State
from experiments.analysis.gains import gains, total, total_sentence
from experiments.analysis.pairing import differences, noise_floor


def test_a_gain_is_over_fresh_seeds_with_the_error_of_the_noise_floor(run_with_keep):
    ledger, tier = run_with_keep.ledger, run_with_keep.tier
    found = gains(ledger, tier, ledger.rows())
    fresh = differences(ledger, ledger.row(1), tier.name, fresh=True)
    assert list(found) == [1]
    assert found[1].seeds == len(fresh) == tier.rule.fresh
    assert found[1].mean == pytest.approx(sum(fresh) / len(fresh))
    assert found[1].error == pytest.approx(noise_floor(ledger, tier).difference_sd / sqrt(len(fresh)))
    assert str(found[1]) == f"{found[1].mean:+.4f} ±{found[1].error:.4f} ({len(fresh)})"
    assert total(ledger, tier).mean == found[1].mean


def test_what_a_person_kept_is_named_and_not_counted(run_with_keep):
    ledger, tier = run_with_keep.ledger, run_with_keep.tier
    before = total(ledger, tier)
    ledger.add_verdict(1, State.KEPT_BY_PERSON, "kept by a person")
    assert total(ledger, tier) is None
    assert total_sentence(ledger, tier) == "nothing kept so far; not counted: 0001, kept by a person"
    assert before is not None

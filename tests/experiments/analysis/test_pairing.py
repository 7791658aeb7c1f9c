"""Tests of paired comparison: generations of seeds, the noise floor, and unfinished confirmations."""

import dataclasses
import re

import pytest
from helpers.tiny_profile import TINY, proposal
from helpers.trials import EVEN_MORE_TEXT, WORSE, search_seeds

from common.state import State
from experiments.analysis.pairing import noise_by_trial, noise_floor, reference_seeds
from experiments.analysis.rejudge import rejudge
from experiments.analysis.status import status_lines
from experiments.loop.recovery import recover
from experiments.tiers import PROFILES
from experiments.trial.trial import run_trial


@pytest.mark.slow
def test_fresh_seeds_become_the_next_generation(run_with_keep, budget):
    run, kept = run_with_keep, run_with_keep.ledger.incumbent()
    fresh = {
        stored.measured.seed for stored in run.ledger.measurement_rows(kept.number) if stored.fresh_for == kept.number
    }
    assert reference_seeds(run.ledger, kept, run.tier).keys() == fresh
    row = run_trial(run, proposal(run, EVEN_MORE_TEXT), budget)
    assert set(search_seeds(run, row.number)) <= fresh
    assert reference_seeds(run.ledger, run.ledger.row(0), run.tier, before=1).keys() == set(search_seeds(run, 0))


@pytest.mark.slow
def test_the_noise_floor_grows_with_each_replicate_of_an_incumbent(run_with_keep, budget):
    run = run_with_keep
    degrees = [noise.degrees for _, noise in noise_by_trial(run.ledger, run.tier)]
    start = TINY.expected_noise.degrees
    assert degrees == [start, start + TINY.rule.seeds - 1]  # before the baseline, before trial 1
    after = noise_floor(run.ledger, run.tier)
    assert after.degrees == degrees[-1] + 2 * (TINY.rule.fresh - 1)  # the old incumbent and the new one
    assert run_trial(run, proposal(run, WORSE), budget).state is State.DISCARDED
    assert noise_floor(run.ledger, run.tier) == after  # a discarded candidate does not change it
    text = "\n".join(status_lines(run.ledger, PROFILES["tiny"]))
    assert re.search(r"noise floor: two runs of identical code differ by 0\.\d+ bpb", text)
    assert "seeds a true gain of 0." in text
    assert "minutes and $0.00" in text


@pytest.mark.slow
def test_a_controller_killed_during_a_confirmation_leaves_no_trace(run_with_keep, budget):
    """An unfinished batch of fresh seeds is no generation, leaves the noise floor alone, and decides nothing later."""
    run, kept = run_with_keep, run_with_keep.ledger.incumbent()

    def state_of_run():
        rejudged = [(trial.row.number, trial.step) for trial in rejudge(run.ledger, run.tier, TINY.rule)]
        incumbent = run.ledger.incumbent()
        return reference_seeds(run.ledger, incumbent, run.tier), noise_floor(run.ledger, run.tier), rejudged

    before = state_of_run()
    number = run.begin_trial("killed", "data", kept.commit_id, hypothesis="", proposal="{}")
    measured = run.ledger.measurements(kept.number)[0]
    for owner, seed in ((kept.number, 5), (number, 5)):
        half = dataclasses.replace(measured, seed=seed, val_bpb=0.1)
        run.ledger.add_measurement(owner, run.tier.name, "dev", half, fresh_for=number)
    assert [row.number for row in recover(run)] == [number]
    assert state_of_run() == before
    row = run_trial(run, proposal(run, EVEN_MORE_TEXT), budget)
    assert 5 not in search_seeds(run, row.number)

"""Tests of equal compute: steps are granted by their cost, and no trial spends more than the tier's budget."""

import dataclasses

import numpy as np
import pytest
from helpers.tiny_profile import proposal
from helpers.trials import MODEL, NEUTRAL, STEPS, spent, work

from common.state import State
from experiments.ledger.usage import SETUP_BUDGET, describe
from experiments.trial.equal_compute import MAX_SHARE, TOLERANCE, affordable_steps
from experiments.trial.incumbent import remeasure
from experiments.trial.trial import run_trial
from preflight.step_cost import Cost
from proposers import context
from proposers.llm import prompt


@pytest.mark.slow
@pytest.mark.trial
def test_equal_work_gets_equal_steps(paced):
    run, limits = paced
    row = run_trial(run, proposal(run, NEUTRAL), limits)
    assert row.state in (State.KEPT, State.DISCARDED, State.REVERTED), row.detail
    assert row.steps == STEPS, row.step_cost
    assert row.step_cost == pytest.approx(1.0, abs=TOLERANCE)


@pytest.mark.slow
@pytest.mark.trial
@pytest.mark.parametrize(("times", "least", "most"), [(10, 0.3, 0.5), (2, 1.4, 2.4)])
def test_expensive_steps_are_fewer_and_cheap_steps_are_more(paced, times, least, most):
    run, limits = paced
    row = run_trial(run, proposal(run, work(times)), limits)
    assert row.val_bpb is not None, row.detail
    assert least * STEPS <= row.steps <= most * STEPS, row.step_cost
    assert row.steps % (STEPS // 10) == 0
    used, limit = spent(row)["train_cpu_seconds"]
    assert used <= limit


@pytest.mark.slow
@pytest.mark.trial
def test_the_steps_of_an_incumbent_apply_to_its_successors_and_its_re_measurement(paced):
    """An incumbent with cheap steps gets more of them; so do its re-measurement and a candidate that changes it."""
    run, limits = paced
    runner = RecordingRunner(run.runner)
    run = dataclasses.replace(run, runner=runner)
    smoother = ("base/config.py", '"smoothing": 4.0', '"smoothing": 0.7')
    kept = run_trial(run, proposal(run, work(2), smoother), limits)
    assert kept.state is State.KEPT, kept.detail
    assert kept.steps > STEPS
    runner.steps.clear()
    text = proposal(run, ("base/config.py", '"smoothing": 0.7', '"smoothing": 0.8'), title="another")
    row = run_trial(run, text, limits)
    assert row.steps == kept.steps, row.step_cost
    assert set(runner.steps) == {kept.steps}
    assert remeasure(run, kept, run.tier, row.number)
    assert set(runner.steps) == {kept.steps}
    question = prompt.prompt(context.gather(run.workspace.root, "night"), "architecture").question
    assert f"{kept.steps} of {STEPS} steps at" in question


class RecordingRunner:
    """A runner that records the steps of each job."""

    def __init__(self, runner):
        self.runner, self.steps = runner, []

    def measure(self, job):
        self.steps.append(job.tier.steps)
        return self.runner.measure(job)


@pytest.mark.slow
@pytest.mark.trial
def test_a_step_that_costs_more_than_ten_of_the_baselines_is_refused_before_training(paced):
    run, limits = paced
    row = run_trial(run, proposal(run, work(80)), limits)
    assert row.state is State.TIMEOUT_TRAIN
    assert "times the baseline" in row.detail
    assert "of the budget" in row.detail
    assert not run.ledger.measurement_rows(row.number)


@pytest.mark.slow
@pytest.mark.trial
def test_a_program_that_is_cheap_only_in_short_runs_hits_the_hard_limit(paced):
    run, limits = paced
    short = 'range(4 if knobs["iterations"] <= 30 else 12)'
    row = run_trial(run, proposal(run, (MODEL, "range(4)", short)), limits)
    assert row.state is State.TIMEOUT_TRAIN, row.detail
    used, limit = spent(row)["train_cpu_seconds"]
    assert limit < used < 1.5 * limit


@pytest.mark.slow
@pytest.mark.trial
def test_setup_beyond_the_baselines_counts_as_training(paced):
    run, limits = paced
    knobs = 'knobs = dict(PRESETS[os.environ.get("PRESET", "tiny")])'
    burn = (
        f"{knobs}\n"
        '    for _ in range(90 if "SEED" in os.environ else 0):\n'
        "        np.sort(np.random.default_rng(1).random(1 << 20))"
    )
    edits = (("base/config.py", "import os\n", "import os\n\nimport numpy as np\n"), ("base/config.py", knobs, burn))
    row = run_trial(run, proposal(run, *edits, NEUTRAL), limits)
    assert row.val_bpb is not None, row.detail
    assert row.step_cost == pytest.approx(1.0, abs=2 * TOLERANCE)
    assert row.steps < 0.9 * STEPS
    used, limit = spent(row)["train_cpu_seconds"]
    assert used <= limit
    used, free = spent(row)[SETUP_BUDGET]
    assert used > 1.5 * free
    assert "setup" in " ".join(describe(row))


def test_granted_steps_times_their_cost_is_the_budget():
    rng = np.random.default_rng(0)
    for _ in range(2_000):
        step, fixed, setup = 10 ** rng.uniform(-2, 1.5), rng.uniform(0, 20), rng.uniform(0, 40)
        incumbent_steps = int(rng.choice([30, 270, 300, 900]))
        reference, cost = Cost(2.0, 0.1, 0.5), Cost(2.0 + setup, 0.1 * step, fixed)
        steps = affordable_steps(cost, reference, 300, incumbent_steps)
        share = cost.relative_cost(steps, reference, 300)
        if steps == incumbent_steps and steps % 30 == 0 and abs(share - 1) > TOLERANCE:
            assert share <= MAX_SHARE
        elif steps == incumbent_steps:
            assert abs(share - 1) <= TOLERANCE
        elif steps:
            assert steps % 30 == 0
            assert share <= MAX_SHARE
            assert steps == 1500 or cost.relative_cost(steps + 30, reference, 300) > MAX_SHARE
        else:
            assert cost.relative_cost(30, reference, 300) > MAX_SHARE

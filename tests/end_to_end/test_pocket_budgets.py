"""Equal compute on the real base/: no knob buys more than the baseline's budget, and overruns are ended."""

import dataclasses
import json

import pytest
from helpers.pocket import SHORT
from helpers.tiny_profile import proposal

from common.state import State
from dev.benchmarks.budgets import CAP_BYTES, COMPUTE_EDITS
from experiments.ledger import usage
from experiments.trial.trial import run_trial

pytestmark = [pytest.mark.slow, pytest.mark.torch]

EXPENSIVE = {  # the least and the most of the tier's steps that the change may get
    "twice the steps": (0.4, 0.6),
    "twice the batch": (0.4, 0.7),
    "twice the width": (0.2, 0.7),
    "four layers": (0.6, 0.9),
}


@pytest.fixture(scope="module")
def roomy(pocket):
    """The same with a larger cap, since these tests are about compute and a wider model needs the bytes.

    The hard limit of training is wider too: on two shared cores a neighbour can cost a program a fifth of its CPU time.
    """
    run, limits = pocket
    limits = dataclasses.replace(limits, train_cpu_seconds=1.3 * limits.train_cpu_seconds)
    target = dataclasses.replace(run.tier.target, cap_bytes=CAP_BYTES)
    return dataclasses.replace(run, tier=dataclasses.replace(run.tier, target=target)), limits


@pytest.mark.parametrize("name", COMPUTE_EDITS)
def test_the_budget_cannot_be_bought(roomy, name):
    """More of anything means fewer steps or is within the budget of scoring; it is never more compute."""
    run, limits = roomy
    row = run_trial(run, proposal(run, COMPUTE_EDITS[name], title=name), limits)
    assert row.state.judged, row.detail
    assert row.val_bpb is not None
    print(name, row.val_bpb, row.delta_bpb, row.steps, row.step_cost, row.spent)
    for what, (used, limit) in json.loads(row.spent).items():
        assert used <= limit or what == usage.SETUP_BUDGET, what
    assert row.steps * row.step_cost <= 1.2 * SHORT.steps  # 1.1 of the budget, set-up and end included
    if name in EXPENSIVE:
        least, most = EXPENSIVE[name]
        assert least * SHORT.steps <= row.steps <= most * SHORT.steps, row.step_cost


def test_an_evaluation_that_overruns_is_ended_with_its_value_so_far(roomy):
    run, limits = roomy
    edit = ("base/evaluate/window.py", "knobs.eval_stride, knobs.eval_batch", "4, knobs.eval_batch")
    row = run_trial(run, proposal(run, edit, title="a stride of four"), limits)
    assert row.state is State.TIMEOUT_SCORE, row.detail
    used, limit = json.loads(row.spent)["score_cpu_seconds"]
    assert limit < used < 1.1 * limit
    assert row.delta_bpb is not None
    assert abs(row.delta_bpb) < 0.2
    assert "of the text, claimed but not audited" in row.detail


def test_steps_batch_and_length_cannot_be_edited_in_the_preset(pocket):
    run, limits = pocket
    edit = ("base/presets.py", "batch_tokens=2048, sequence_length=128", "batch_tokens=4096, sequence_length=256")
    row = run_trial(run, proposal(run, edit, title="preset"), limits)
    assert row.state is State.NO_OP, row.detail

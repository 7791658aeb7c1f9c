"""Tests of parts that harm a trial: they stop its promotion, and what is left is measured."""

import shlex
from datetime import date

import pytest
from helpers.tiny_profile import proposal

from common.errors import CaddieError
from common.state import State
from experiments.analysis.pairing import noise_floor
from experiments.promotion.ablation import _harmful as harmful
from experiments.promotion.ablation import separable_changes
from experiments.promotion.promote import PromotionRequest, promote
from experiments.proposal import by_person
from experiments.proposal.patch import apply
from experiments.trial.trial import run_trial

TODAY = date(2026, 11, 21)


@pytest.mark.slow
def test_a_part_that_harms_stops_the_promotion_until_the_rest_is_measured(kept_run, budget):
    """The patch of the printed command is the change without that part; --whole promotes the trial as it is."""
    more = ("base/config.py", '"iterations": 12', '"iterations": 60')
    harm = ("base/model.py", "* prior * 0.1\n", "* prior * 0.8\n")
    row = run_trial(kept_run, proposal(kept_run, more, harm, title="two parts"), budget)
    assert row.state is State.KEPT, row.detail
    with kept_run.ledger.connection as connection:
        connection.execute("UPDATE trials SET trials_can_read_text = 0")
    with pytest.raises(CaddieError, match=r"without base/model.py:\d+, \+1 -1 it is better by") as caught:
        promote(kept_run, row.number, PromotionRequest(2), lambda _: None, TODAY)
    words = shlex.split(str(caught.value).partition("promote that: ")[2].partition(";")[0])
    change = words[words.index("try") + 1]
    parent = kept_run.workspace.best()
    reduced = by_person.from_change(kept_run.workspace, str(kept_run.workspace.root / change), parent, "reduced")
    tree = apply(reduced, kept_run.workspace.read(parent))
    assert b"* prior * 0.1" in tree["base/model.py"].content
    assert b'"iterations": 60' in tree["base/config.py"].content
    assert (
        promote(
            kept_run, row.number, PromotionRequest(2, whole=True, non_record=True), lambda _: None, TODAY
        ).row.number
        == 2
    )


@pytest.mark.slow
def test_several_harmful_parts_are_taken_out_and_measured_together(kept_run, budget):
    """The ledger has an ablation in which two parts of three harm; what is left is really measured, once."""
    more = ("base/config.py", '"iterations": 12', '"iterations": 60')
    smooth = ("base/model.py", "* prior * 0.1\n", "* prior * 0.8\n")
    noisy = ("base/model.py", "VOCAB)) < 0.01)", "VOCAB)) < 0.03)")
    row = run_trial(kept_run, proposal(kept_run, more, smooth, noisy, title="three parts"), budget)
    assert row.state is State.KEPT, row.detail
    with kept_run.ledger.connection as connection:
        connection.execute("UPDATE trials SET trials_can_read_text = 0")
    for change in separable_changes(kept_run.workspace, row):
        value = -1.0 if change.path == "base/model.py" else 1.0
        kept_run.ledger.add_ablation(row.number, change.label, [value, value], "")
    with pytest.raises(CaddieError, match=r"without all of these: better by 0\.\d+ bpb") as caught:
        promote(kept_run, row.number, PromotionRequest(2), lambda _: None, TODAY)
    taken = len(kept_run.ledger.ablations(row.number))
    assert taken == 4  # each part, and the two that harm together
    with pytest.raises(CaddieError, match="without all of these") as again:
        promote(kept_run, row.number, PromotionRequest(2), lambda _: None, TODAY)
    assert (str(again.value), len(kept_run.ledger.ablations(row.number))) == (str(caught.value), taken)
    patch = (kept_run.trial_folder(row.number) / "reduced.patch").read_text()
    assert '+    table = counts + 1024 * knobs["smoothing"] * prior * 0.1\n' in patch
    assert "< 0.01)" in patch


def test_a_part_is_harmful_by_the_noise_and_the_number_of_parts(kept_run):
    """Holm: with four parts, the least p-value must be under a quarter of 5 %."""
    noise = noise_floor(kept_run.ledger, kept_run.tier)
    sd = noise.difference_sd
    assert harmful({"a": [-9 * sd] * 3}, noise) == ["a"]
    just = next(-k * sd / 100 for k in range(1, 2000) if noise.p_value(-k * sd / 100, 3) < 0.05)
    assert harmful({"a": [just] * 3}, noise) == ["a"]
    assert harmful({"a": [just] * 3, "b": [0.0] * 3, "c": [sd] * 3}, noise) == []
    assert harmful({"a": [-99 * sd] * 3, "b": [just] * 3}, noise) == ["a", "b"]

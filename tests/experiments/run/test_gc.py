"""Tests of `gc`: which weights are deleted, and of checkpoints, which a run deletes by itself."""

from helpers.tiny_profile import proposal

from common.state import State
from experiments.run.gc import disposable
from experiments.trial.trial import run_trial


def test_weights_of_losing_trials_are_deleted_and_those_of_keeps_are_not(run_with_keep, budget):
    run = run_with_keep

    def deleted() -> set[tuple[str, ...]]:
        return {path.relative_to(run.folder).parts for path in disposable(run.folder, run.ledger)}

    worse = ("base/config.py", '"smoothing": 0.5', '"smoothing": 500.0')
    row = run_trial(run, proposal(run, worse), budget)
    assert row.state is State.DISCARDED
    before = deleted()
    assert {parts[0] for parts in before} == {"0001", "0002"}
    # Of the incumbent's fresh seeds, which were measured for trial 1, only the numbers count.
    fresh = {measurement.folder for measurement in run.ledger.measurement_rows(0) if measurement.fresh_for == 1}
    assert {parts[1] for parts in before if parts[0] == "0001"} == fresh
    assert {parts[2] for parts in before} == {"weights.bin", "artifact.bin", "checkpoint.bin"}
    run.ledger.add_promotion(1, "records/track_pocket_non_record/x", "f" * 40)
    assert deleted() == before
    run.ledger.add_promotion(1, "records/track_pocket/x", "f" * 40)
    after = {parts[1] for parts in deleted()}
    assert {measurement.folder for measurement in run.ledger.measurement_rows(1)} <= after


def test_a_run_deletes_checkpoints_ten_trials_later_except_those_of_keeps(run_with_keep, budget, monkeypatch):
    run = run_with_keep
    monkeypatch.setattr("experiments.run.gc.CHECKPOINT_TRIALS", 2)

    def checkpoints(number: int) -> set[str]:
        return {path.parent.name for path in (run.folder / f"{number:04d}").glob("*/checkpoint.bin")}

    def own(number: int) -> set[str]:
        return {taken.folder for taken in run.ledger.measurement_rows(number)}

    worse = ("base/config.py", '"iterations": 12', '"iterations": 1')
    run_trial(run, proposal(run, worse), budget)
    baseline = checkpoints(0)
    assert baseline
    assert checkpoints(1) > own(1), "and the incumbent's on its fresh seeds"
    assert checkpoints(2) == own(2)
    broken = ("base/model.py", "import numpy", "imp0rt numpy")
    assert run_trial(run, proposal(run, broken), budget).number == 3
    assert (checkpoints(1), checkpoints(2)) == (own(1), own(2))
    run_trial(run, proposal(run, broken, title="again"), budget)
    assert (checkpoints(0), checkpoints(1), checkpoints(2)) == (baseline, own(1), set())

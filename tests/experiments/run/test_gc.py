"""Tests of `gc`: which weights are deleted, and of checkpoints, which a run deletes by itself."""

from helpers.tiny_profile import proposal

from common.state import State
from experiments.run.gc import CHECKPOINT_TRIALS, disposable, expired_checkpoints
from experiments.trial.trial import run_trial


def test_weights_of_losing_trials_are_deleted_and_those_of_keeps_are_not(run_with_keep, budget, monkeypatch):
    run = run_with_keep

    def deleted() -> set[tuple[str, ...]]:
        return {path.relative_to(run.folder).parts for path in disposable(run.folder, run.ledger)}

    def expired(number: int) -> set[tuple[str, ...]]:
        found = expired_checkpoints(run.folder, run.ledger, number + CHECKPOINT_TRIALS)
        return {path.relative_to(run.folder / f"{number:04d}").parts for path in found}

    def measurements(number: int):
        return run.ledger.measurement_rows(number)

    worse = ("base/config.py", '"smoothing": 0.5', '"smoothing": 500.0')
    row = run_trial(run, proposal(run, worse), budget)
    assert row.state is State.DISCARDED
    assert expired(row.number) == {(measured.folder, "checkpoint.bin") for measured in measurements(row.number)}
    # Of a keep, those of its own tree stay: the next change of quantization is compared on them.
    assert expired(1)
    assert {parts[0] for parts in expired(1)}.isdisjoint(taken.folder for taken in measurements(1))
    monkeypatch.setattr("experiments.run.gc.CHECKPOINT_TRIALS", 1)
    refused = run_trial(run, proposal(run, ("base/model.py", "import", "imp0rt")), budget)
    assert not expired(row.number), f"trial {refused.number}, {refused.state}, should have deleted them"
    monkeypatch.undo()
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

"""Tests of `rerun`."""

from helpers.programs import call_command
from helpers.tiny_profile import git

from experiments.run.run import open_run


def test_a_rerun_gives_the_same_artifact_and_changes_no_verdict(run_with_keep):
    run = run_with_keep
    before, count = run.ledger.row(1), len(run.ledger.measurement_rows(1))
    output = call_command(run, "rerun", "1", "--run", "night")
    assert "the same artifact" in output
    again = open_run(run.workspace.root, "night", "tiny", lambda *_: None)
    assert again.ledger.row(1) == before
    assert [measurement.tier for measurement in again.ledger.measurement_rows(1)][count:] == ["rerun"]
    assert "rerun: seed" in git(again.workspace.root, "notes", "--ref=caddie", "show", before.commit_id)
    again.close()

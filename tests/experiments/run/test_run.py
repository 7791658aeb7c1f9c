"""Opening a run: one controller at a time, on a definite profile, wherever its folders are."""

import os
from contextlib import closing

import pytest
from helpers.runs import start_run

from common.errors import CaddieError
from common.profiles import ProfileTable
from common.state import State
from experiments.run.run import open_run, reopen
from experiments.tiers import Profile
from experiments.trial.baseline import measure_baseline


def test_a_lock_names_its_holder(run):
    with pytest.raises(CaddieError, match=rf"run night is in use by pid {os.getpid()} \(.*\), since 20\d\d-"):
        start_run(run.workspace.root)


@pytest.mark.slow
@pytest.mark.trial
def test_trials_and_shards_may_be_links_to_another_disk(repo, tmp_path):
    disk = tmp_path / "disk"
    (disk / "trials").mkdir(parents=True)
    (repo / "shards").rename(disk / "shards")
    for name in ("trials", "shards"):
        (repo / name).symlink_to(disk / name)
    with closing(open_run(repo, "night", "tiny", lambda *_: None)) as run:
        assert measure_baseline(run).state is State.BASELINE
    assert (disk / "trials" / "night" / "ledger.sqlite").exists()


@pytest.mark.slow
@pytest.mark.trial
def test_minutes_become_steps_when_a_run_begins_without_a_gpu(repo):
    """The tiny program takes its steps from ITERATIONS; the run records them, and its vocabulary."""
    table = ProfileTable("tiny", preset="tiny", corpus="tiny", minutes=0.1, measurement_minutes=0.1)
    with closing(open_run(repo, "night", "tiny", lambda *_: None, wanted=Profile.of(table))) as run:
        recorded = run.machine.table
        assert recorded is not None
        assert recorded.minutes is None
        assert recorded.asked_minutes == 0.1
        assert recorded.steps == run.tier.steps >= 20
        assert recorded.vocab_size == run.corpus.manifest.vocab_size
        assert not (run.folder / "work" / "steps").exists()
    with closing(reopen(repo, "night", lambda *_: None)) as again:
        assert again.machine.table == recorded

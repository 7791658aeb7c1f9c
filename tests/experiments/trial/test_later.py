"""Later verdicts: more seeds are judged with all others, and a person's decisions move the incumbent by name."""

from statistics import fmean

import pytest
from helpers.tiny_profile import MORE_TEXT, git, proposal

from common.errors import CaddieError, Refused, WorkspaceError
from common.state import State
from experiments.analysis.pairing import differences, reference_seeds
from experiments.ledger import mirror
from experiments.ledger.store import Ledger
from experiments.loop.recovery import recover
from experiments.trial.later import keep, more_seeds, revert
from experiments.trial.trial import run_trial

WORSE = ("base/config.py", '"smoothing": 0.5', '"smoothing": 40.0')


@pytest.fixture
def discarded(run, budget):
    row = run_trial(run, proposal(run, WORSE, title="worse"), budget)
    assert row.state is State.DISCARDED, row.detail
    return row


@pytest.mark.slow
def test_more_seeds_of_a_bad_trial_leave_it_discarded_and_are_in_its_value(run, discarded):
    text = more_seeds(run, discarded.number, 2)
    row = run.ledger.row(discarded.number)
    fresh = differences(run.ledger, row, "full", fresh=True)
    assert len(fresh) == 2
    assert row.state is State.DISCARDED
    assert row.delta_bpb == pytest.approx(fmean(fresh))
    assert "2 fresh seeds" in text
    assert "2 fresh seeds" in row.detail
    assert run.workspace.best() == row.parent


def test_more_seeds_of_a_keep_confirm_it(run_with_keep):
    run = run_with_keep
    more_seeds(run, 1, 1)
    row = run.ledger.row(1)
    assert row.state is State.KEPT
    assert len(differences(run.ledger, row, "full", fresh=True)) == run.tier.rule.fresh + 1
    assert run.workspace.best() == row.commit_id
    assert len(reference_seeds(run.ledger, row, run.tier)) == run.tier.rule.fresh + 1


@pytest.mark.slow
def test_a_persons_keep_moves_the_incumbent_and_is_no_keep_of_the_judges(run, discarded, budget, tmp_path):
    keep(run, discarded.number, "needed next")
    row = run.ledger.row(discarded.number)
    assert (row.state, str(row.state)) == (State.KEPT_BY_PERSON, "kept (person)")
    assert "needed next" in row.detail
    assert run.ledger.incumbent().number == row.number
    assert run.workspace.best() == row.commit_id
    assert len(reference_seeds(run.ledger, row, run.tier)) == run.tier.rule.fresh
    assert "kept (person): kept by a person: needed next" in git(
        run.workspace.root, "notes", "--ref=caddie", "show", row.commit_id
    )
    copy = Ledger(tmp_path / "copy.sqlite")
    for each in run.ledger.rows():
        mirror.load(copy, mirror.export(run.ledger, each.number))
    assert copy.rows() == run.ledger.rows()
    copy.close()
    recover(run)  # trusts the ledger
    assert run.workspace.best() == row.commit_id
    better = run_trial(run, proposal(run, MORE_TEXT, title="more text"), budget)
    assert (better.parent, better.state) == (row.commit_id, State.KEPT)
    with pytest.raises(CaddieError, match="revert them first: 0002"):
        revert(run, row.number, "")
    revert(run, better.number, "")
    revert(run, row.number, "not needed after all")
    assert run.ledger.incumbent().state is State.BASELINE
    assert [each.state for each in run.ledger.rows()][1:] == [State.REVERTED_BY_PERSON] * 2


def test_what_cannot_be_decided_says_why(run, discarded, run_with_keep):
    with pytest.raises(CaddieError, match="is baseline, expected one that was compared"):
        more_seeds(run, 0, 1)
    with pytest.raises(CaddieError, match="is kept already"):
        keep(run_with_keep, 1, "")
    with pytest.raises(CaddieError, match="expected a kept one"):
        revert(run, discarded.number, "")


@pytest.mark.slow
def test_each_look_at_fresh_seeds_makes_the_next_one_harder(run, discarded):
    texts = [more_seeds(run, discarded.number, 1) for _ in range(2)]
    first = run.tier.rule.keep_p * run.tier.rule.confirm_p
    assert f"needs {first:.3g}" in texts[0]
    assert f"needs {first / 2:.3g}" in texts[1]
    rows = [row for row in run.ledger.measurement_rows(discarded.number) if row.fresh_for == discarded.number]
    assert len({row.measured.data_seed for row in rows}) == 2  # each look has data of its own


def test_an_incumbent_that_fails_on_a_fresh_seed_is_reverted(run_with_keep, monkeypatch):
    run = run_with_keep

    def refuse(*_, **__):
        raise Refused(State.DISHONEST, "score: got what no model says")

    monkeypatch.setattr("experiments.trial.later._measure_fresh", refuse)
    assert "trial 0001 is reverted: failed on a fresh seed, dishonest" in more_seeds(run, 1, 1)
    assert run.ledger.incumbent().state is State.BASELINE
    assert run.workspace.best() == run.ledger.incumbent().commit_id


def test_a_push_follows_a_revert(run_with_keep, tmp_path):
    run = run_with_keep
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    run.workspace.push(str(tmp_path / "remote.git"))
    revert(run, 1, "")
    run.workspace.push(str(tmp_path / "remote.git"))
    remote = git(tmp_path / "remote.git", "rev-parse", "refs/heads/experiments/night/best")
    assert remote == run.workspace.best()
    mine = git(run.workspace.root, "commit-tree", "-p", "HEAD", "-m", "another machine's", "HEAD^{tree}")
    git(run.workspace.root, "push", "--quiet", "--force", str(tmp_path / "remote.git"), f"{mine}:refs/heads/x")
    git(tmp_path / "remote.git", "update-ref", "refs/heads/experiments/night/best", mine)
    git(run.workspace.root, "prune", "--expire=now")
    if not run.workspace.has(mine):
        with pytest.raises(WorkspaceError):
            run.workspace.push(str(tmp_path / "remote.git"))

"""Tests of promotion: what becomes a record, what is refused and why, and which seeds are measured again."""

import json
from datetime import date

import pytest
from helpers.tiny_profile import git, proposal

from common.errors import CaddieError, Refused
from common.state import State
from experiments.ledger.measurement import Measurement
from experiments.promotion import record_folder
from experiments.promotion.promote import PromotionRequest, promote
from experiments.promotion.promotion import Promotion
from experiments.promotion.record_folder import Author
from experiments.run.run import Run
from experiments.trial.measure import measure
from experiments.trial.trial import run_trial
from preflight.records import check, logs
from preflight.source import bundle, release

TODAY, ME = date(2026, 11, 21), Author("A Person", "person")


def seeds_of(promotion: Promotion) -> list[int]:
    return [measurement.seed for measurement in promotion.measured]


def record_measurements(run: Run, number: int) -> list[Measurement]:
    """Return what was measured of a trial for its record."""
    return [row.measured for row in run.ledger.measurement_rows(number) if row.tier == "record"]


def test_a_kept_trial_becomes_a_record_that_passes_the_check(kept_run):
    head, status = kept_run.workspace.head(), git(kept_run.workspace.root, "status", "--porcelain")
    promoted = promote(kept_run, 1, PromotionRequest(3), lambda _: None, TODAY)
    assert [verdict.missing for verdict in promoted.verdicts] == [[], []]
    name = record_folder.write(kept_run, promoted, ME, TODAY)
    folder = kept_run.workspace.root / name
    assert name == "records/track_pocket/2026-11-21_more_text_0001"
    assert {path.name.rstrip("0123456789.log") for path in folder.glob("*.log")} == {"train_seed"}

    checked = check.check(folder)
    assert not checked.findings
    start = kept_run.ledger.baseline().commit_id
    whole = git(kept_run.workspace.root, "diff", start, kept_run.ledger.row(1).commit_id, "--", "base")
    assert (folder / "from_start.diff").read_text().strip().splitlines()[2:] == whole.splitlines()[2:]
    assert len(checked.claimed) == 3
    claim = json.loads((folder / "submission.json").read_text())
    values = [logs.parse(path.read_text()).final.val_bpb for path in folder.glob("*.log")]
    assert claim["val_bpb"] == pytest.approx(sum(values) / 3)
    program = (folder / bundle.NAME).read_bytes()
    assert program == (kept_run.trial_folder(1) / "record" / bundle.NAME).read_bytes()
    assert claim["bytes_total"] == max(measurement.artifact_bytes for measurement in promoted.measured)
    assert claim["bytes_code"] == len(program)
    assert program == release.build(
        kept_run.workspace.read(kept_run.ledger.row(1).commit_id), promoted.tier.target.defaults
    )
    compile((folder / "train_gpt_human.py").read_text(), "human", "exec")

    assert git(kept_run.workspace.root, "rev-parse", "HEAD~1") == head
    assert git(kept_run.workspace.root, "status", "--porcelain") == status
    assert kept_run.ledger.promotions() == [(1, name, kept_run.workspace.head())]
    row = kept_run.ledger.row(1)
    assert name in git(kept_run.workspace.root, "notes", "--ref=caddie", "show", row.commit_id)
    searched = {row.measured.seed for row in kept_run.ledger.measurement_rows(0) if row.tier == "full"}
    assert not searched & set(seeds_of(promoted))
    with pytest.raises(CaddieError, match="exists already"):
        promote(kept_run, 1, PromotionRequest(9), lambda _: None, TODAY)


@pytest.mark.slow
def test_seeds_of_an_earlier_attempt_are_included_and_counted(kept_run):
    first = promote(kept_run, 1, PromotionRequest(2, non_record=True), lambda _: None, TODAY)
    assert first.track == "track_pocket_non_record"
    assert "missing: 1 more seeds (has 2)" in first.reasons[0]
    second = promote(kept_run, 1, PromotionRequest(3, non_record=True), lambda _: None, TODAY)
    assert second.reasons == ["packed as a non-record submission on request"]
    assert seeds_of(second)[:2] == seeds_of(first)
    assert (first.looks, second.looks) == (1, 2)
    assert "looked at 2 times" in record_folder.contents(kept_run, second, ME, TODAY)["README.md"].decode()


@pytest.mark.slow
def test_a_trial_that_is_no_record_is_refused_with_what_would_change_it(kept_run, monkeypatch):
    spent = len(kept_run.ledger.measurement_rows(0))
    with pytest.raises(CaddieError, match="verdict is baseline, expected kept.*--non-record"):
        promote(kept_run, 0, PromotionRequest(3), lambda _: None, TODAY)
    with pytest.raises(CaddieError, match="1 seed has no spread"):
        promote(kept_run, 1, PromotionRequest(1), lambda _: None, TODAY)
    assert len(kept_run.ledger.measurement_rows(0)) == spent, "nothing is measured for what is refused beforehand"
    with pytest.raises(CaddieError, match="no trial 7"):
        promote(kept_run, 7, PromotionRequest(3), lambda _: None, TODAY)
    with kept_run.ledger.connection:
        kept_run.ledger.connection.execute("UPDATE trials SET trials_can_read_text = 1")
    with pytest.raises(CaddieError, match="could read the text"):
        promote(kept_run, 1, PromotionRequest(3), lambda _: None, TODAY)
    with kept_run.ledger.connection:
        kept_run.ledger.connection.execute("UPDATE trials SET trials_can_read_text = 0")
    monkeypatch.setattr("preflight.records.frontier.RECORD_NATS", 5.0)
    with pytest.raises(CaddieError, match=r"a mean lower by .* at this spread.*--seeds 4; or --non-record"):
        promote(kept_run, 1, PromotionRequest(2), lambda _: None, TODAY)


@pytest.mark.slow
def test_a_seed_that_failed_is_not_drawn_again(kept_run, budget):
    """Otherwise seeds could be drawn until all of them pass."""
    failing = (
        "base/model.py",
        "    draw = ",
        '    import os\n    if os.environ["SEED"] == FATAL:\n        raise ValueError("not this one")\n    draw = ',
    )
    row = run_trial(kept_run, proposal(kept_run, (*failing[:2], failing[2].replace("FATAL", "str(1)"))), budget)
    assert row.val_bpb is not None, row.detail
    drawn = iter([[10], [11, 1, 12], [13, 14, 15]])  # the first for the baseline, over which a gain is claimed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.promotion.promote.new_seeds", lambda count: next(drawn) if count > 0 else [])
        for _ in range(2):
            with pytest.raises(CaddieError, match="seed 1 ended as crash.*every seed it is given"):
                promote(kept_run, row.number, PromotionRequest(3, non_record=True), lambda _: None, TODAY)
    (measurement,) = record_measurements(kept_run, row.number)
    (baseline,) = record_measurements(kept_run, 0)
    assert (measurement.seed, baseline.seed) == (11, 10)
    assert measurement.honesty.rare_gain_nats is not None  # probe positions followed its gain over the baseline


@pytest.mark.slow
def test_a_seed_that_took_too_long_is_repeated(kept_run, monkeypatch):
    tried = []

    def slow_once(run, entry, tier, seed, **_):
        if entry.number == 0:
            return measure(run, entry, tier, seed)
        tried.append(seed)
        if len(tried) == 2:
            raise Refused("timeout(train)", "train: got 99.0 cpu seconds, expected at most 30.0")
        return measure(run, entry, tier, seed)

    monkeypatch.setattr("experiments.promotion.promote.measure", slow_once)
    with pytest.raises(CaddieError, match=r"ended as timeout\(train\)"):
        promote(kept_run, 1, PromotionRequest(2, non_record=True), lambda _: None, TODAY)
    promoted = promote(kept_run, 1, PromotionRequest(2, non_record=True), lambda _: None, TODAY)
    assert tried[1] == tried[2]
    assert seeds_of(promoted) == [tried[0], tried[1]]


def test_a_scorer_that_took_too_long_has_seen_the_text_and_is_not_repeated(kept_run, monkeypatch):
    def slow(run, entry, tier, seed, **_):
        if entry.number == 0:
            return measure(run, entry, tier, seed)
        raise Refused(State.TIMEOUT_SCORE, "score: got 99.0 cpu seconds, expected at most 30.0")

    with monkeypatch.context() as patch:
        patch.setattr("experiments.promotion.promote.measure", slow)
        with pytest.raises(CaddieError, match=r"ended as timeout\(score\)"):
            promote(kept_run, 1, PromotionRequest(2, non_record=True), lambda _: None, TODAY)
    with pytest.raises(CaddieError, match=r"ended as timeout\(score\).*every seed it is given"):
        promote(kept_run, 1, PromotionRequest(2, non_record=True), lambda _: None, TODAY)


@pytest.mark.slow
def test_an_interrupted_preflight_is_repeated(kept_run, monkeypatch):
    def cut(tree, parent, target, corpus, folder, level, build):
        folder.mkdir(parents=True)
        (folder / bundle.NAME).write_bytes(build(tree))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("experiments.promotion.promote.checks.run", cut)
        with pytest.raises(KeyboardInterrupt):
            promote(kept_run, 1, PromotionRequest(2, non_record=True), lambda _: None, TODAY)
    promote(kept_run, 1, PromotionRequest(2, non_record=True), lambda _: None, TODAY)
    assert "smoke" not in {path.name for path in (kept_run.trial_folder(1) / "record").iterdir()}
    assert kept_run.ledger.promotion_attempt(1).passed_sha256


@pytest.mark.slow
def test_the_record_has_the_name_that_the_person_gives(kept_run):
    promoted = promote(
        kept_run, 1, PromotionRequest(2, non_record=True, name="Twelve steps: a start"), lambda _: None, TODAY
    )
    assert promoted.folder == "records/track_pocket_non_record/2026-11-21_Twelve_steps_a_start_0001"
    claim = record_folder.submission(kept_run.corpus, promoted, ME, TODAY, {})
    assert claim["name"] == "Twelve steps: a start"

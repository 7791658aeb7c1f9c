"""The ledger: its database connection, and rows that are settled once."""

import json
import sys
import threading
from dataclasses import replace

import pytest

from common.state import State
from experiments.costs.llm_calls import Calls
from experiments.ledger.notes import PromotionAttempt
from experiments.ledger.store import Ledger
from experiments.proposal.schema import Proposal

PLACE = {"profile": "pocket", "tier": "full", "sandbox_level": "none", "trials_can_read_text": True}


def test_any_thread_may_collect_a_forgotten_ledger(tmp_path):
    forgotten, complaints = [Ledger(tmp_path / "ledger.sqlite")], []
    hook, sys.unraisablehook = sys.unraisablehook, complaints.append
    try:
        thread = threading.Thread(target=forgotten.clear)
        thread.start()
        thread.join()
    finally:
        sys.unraisablehook = hook
    assert not complaints


def test_a_ledger_refuses_to_settle_twice(run):
    ledger = Ledger(run.ledger.path)
    with pytest.raises(Exception, match="already settled"):
        ledger.settle(0, State.DISCARDED)
    ledger.close()


def test_the_state_of_a_promotion_moves_from_facts_to_its_table(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    facts = {"record_12": "abc cpu 2.13", "record_12_from": "4", "record_12_looks": "3 5", "record_12_passed": "abc"}
    ledger.begin(at_least=12, title="", kind="", parent="", hypothesis="", proposal="", **PLACE)
    failure = "seed 77 ended as timeout(train): train: got 99.0 cpu seconds: expected less"
    for name, value in {**facts, "record_12_failed": failure, "profile": "pocket"}.items():
        ledger.set_fact(name, value)
    ledger.connection.execute("DELETE FROM migrations WHERE name = 'm009_promotion_attempts'")
    ledger.connection.execute("DROP TABLE promotion_attempts")
    ledger.connection.commit()
    ledger.close()
    moved = Ledger(tmp_path / "ledger.sqlite")
    attempt = PromotionAttempt(12, "abc", "abc cpu 2.13", 4, 77, "timeout(train)", failure, "3 5")
    assert moved.promotion_attempt(12) == attempt
    assert moved.promotion_attempt(13) == PromotionAttempt(13)
    assert (moved.fact("record_12"), moved.fact("profile")) == (None, "pocket")
    moved.set_promotion_attempt(replace(attempt, failed_seed=None, failed_state="", failure=""))
    assert moved.promotion_attempt(12).failed_seed is None
    moved.close()


def test_classes_are_spelled_as_today_whatever_a_ledger_or_a_proposal_holds(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    number = ledger.begin(title="", kind="optimiser", parent="", hypothesis="", proposal="", **PLACE)
    calls = Calls(ledger)
    calls.reserve("propose", "quantisation", number, "model", 0.1, 10)
    assert ledger.row(number).kind == "optimizer"
    assert [call.kind for call in calls.rows()] == ["quantization"]
    ledger.close()
    fields = {"title": "t", "hypothesis": "h", "class": "quantisation", "parent": "0" * 40, "expected_delta_bpb": 0.0}
    made = Proposal.parse(json.dumps({**fields, "edits": [{"path": "base/a.py", "content": ""}]}))
    assert made.kind == "quantization"
    assert json.loads(made.to_json())["class"] == "quantization"


def test_rows_are_read_anew_once_anyone_has_written(tmp_path):
    """Rows are kept between calls: no change by this connection, by another or one that is rolled back is missed."""
    ledger, other = Ledger(tmp_path / "ledger.sqlite"), Ledger(tmp_path / "ledger.sqlite")
    identity = {"title": "a", "kind": "data", "hypothesis": "", "proposal": "{}", "parent": "0" * 40}
    identity |= {"profile": "pocket", "tier": "full", "sandbox_level": "namespace", "trials_can_read_text": False}

    def agree():
        fresh = Ledger(tmp_path / "ledger.sqlite")
        try:
            return ledger.rows() == other.rows() == fresh.rows()
        finally:
            fresh.close()

    assert ledger.rows() == []
    number = ledger.begin(at_least=0, **identity)
    assert agree()
    other.settle(number, State.DISCARDED, val_bpb=1.5)
    assert agree()
    ledger.rows().clear()
    assert len(ledger.rows()) == 1
    ledger.connection.execute("UPDATE trials SET title = 'b'")
    assert ledger.rows()[0].title == "b"
    ledger.connection.rollback()
    assert ledger.rows()[0].title == "a"
    assert agree()
    other.disown(number, number, "a test")
    assert agree()
    ledger.close()
    other.close()

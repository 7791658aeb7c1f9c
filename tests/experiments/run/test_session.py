"""Sessions: trials and hours count across restarts, pauses grow, and a run that only crashes is given up."""

import time

import pytest

from common.errors import CaddieError
from experiments.run import session
from experiments.run.run import open_run
from experiments.run.session import MAX_STARTS, Session


def test_opening_a_run_for_another_command_does_not_end_the_session(run):
    """`ablate` and similar commands open the run between two starts of the loop; trials and hours keep counting."""
    first = Session.begin(run.ledger, "evening")
    root = run.workspace.root
    run.close()
    opened = open_run(root, "night", "tiny", lambda *_: None)
    assert (again := Session.begin(opened.ledger, "evening")).first == first.first
    assert again.starts == first.starts + 1
    opened.close()


def test_sessions_pause_longer_and_longer_and_give_up(run):
    pauses = [Session.begin(run.ledger, "evening").pause_seconds for _ in range(MAX_STARTS)]
    with pytest.raises(CaddieError, match="settled no trial"):
        Session.begin(run.ledger, "evening")
    assert pauses[:6] == [0, 1, 2, 4, 8, 16]
    assert pauses[-1] == 300
    assert Session.begin(run.ledger, "the next evening").pause_seconds == 0


def test_hours_do_not_depend_on_a_clock_that_can_be_set(run, monkeypatch):
    first = Session.begin(run.ledger, "evening")
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert first.hours < 0.01
    clock = session.seconds_since_boot()
    monkeypatch.setattr(session, "seconds_since_boot", lambda: clock + 3600)
    again = Session.begin(run.ledger, "evening")  # after a crash, an hour later
    assert again.hours == pytest.approx(1.0, abs=0.01)
    monkeypatch.setattr(session, "boot_id", lambda: "another")
    monkeypatch.setattr(session, "seconds_since_boot", lambda: 60.0)
    assert Session.begin(run.ledger, "evening").hours == pytest.approx(1.0, abs=0.01)
    monkeypatch.setattr(session, "seconds_since_boot", lambda: 60.0 + 1800)
    assert Session.begin(run.ledger, "evening").hours == pytest.approx(1.5, abs=0.01)
    assert Session.begin(run.ledger, "the next").hours == 0.0

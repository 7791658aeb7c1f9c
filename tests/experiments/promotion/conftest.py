"""Fixtures for tests of promotion."""

import dataclasses

import pytest
from helpers.tiny_profile import TINY

from experiments.run.run import Run
from experiments.tiers import POCKET_TRACK, PROFILES, PROMOTE


@pytest.fixture(autouse=True)
def record_tier(monkeypatch):
    """The tiny profile with a tier for promotion."""
    tier = dataclasses.replace(TINY, name="record", split="validation", rule=PROMOTE, audit_positions=128)
    monkeypatch.setitem(PROFILES, "tiny", dataclasses.replace(PROFILES["tiny"], record=tier, track=POCKET_TRACK))


@pytest.fixture
def kept_run(run_with_keep) -> Run:
    """A run with one keep, whose rows say that trials cannot read the text.

    The text of the tests is Python's own source, which any trial can read, and promotion would refuse it.
    """
    with run_with_keep.ledger.connection as connection:
        connection.execute("UPDATE trials SET trials_can_read_text = 0")
    return run_with_keep

"""Everything that a job can open, write, stat, reach, signal, set and call: listed from inside, and justified."""

import os

import pytest

from dev.audit import audit, expected_views, unexplained, views
from dev.hostile import reason_unavailable


@pytest.mark.parametrize(("view", "level", "uid", "ranks"), views(), ids=[view for view, *_ in views()])
def test_a_job_reaches_only_what_is_listed(view, level, uid, ranks):
    if (reason := reason_unavailable(uid)) and not os.environ.get("CADDIE_REQUIRE_SANDBOX"):
        pytest.skip(reason)  # a laptop without root cannot become another user; CI sets the variable and fails
    assert not reason
    reached, expected = audit(level, uid, ranks), expected_views()[view]
    unlisted = {kind: sorted(set(things) - set(expected.get(kind, []))) for kind, things in reached.items()}
    assert not {kind: things for kind, things in unlisted.items() if things}, "a job reaches more than is listed"
    missing = {kind: unexplained(kind, things) for kind, things in expected.items()}
    assert not {kind: things for kind, things in missing.items() if things}, "listed without a reason"

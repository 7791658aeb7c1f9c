"""Allocation of turns: streaks, keep rates, and the cost of dishonest proposals."""

from helpers.proposers.rows import row

from common.state import State
from proposers.allocation import CLASSES, STREAK, allocate, allocate_class


def test_classes_take_turns_in_streaks():
    rows = []
    for number in range(8 * STREAK):
        rows.append(row(number, kind=allocate_class(rows).name))
    kinds = [row.kind for row in rows]
    assert set(kinds) == set(CLASSES)
    assert all(len(set(kinds[i : i + STREAK])) == 1 for i in range(0, len(kinds), STREAK))


def test_name_that_is_kept_gets_more_turns():
    history = []
    for number in range(400):
        name = allocate(("a", "b"), history).name
        history.append((name, State.KEPT if name == "a" and number % 3 == 0 else State.DISCARDED))
    assert sum(name == "a" for name, _ in history) > 2 * sum(name == "b" for name, _ in history) > 20
    assert "kept" in allocate(("a", "b"), history).reason


def test_dishonest_proposal_costs_a_turn_and_ends_the_streak():
    honest = [("a", State.DISCARDED), ("b", State.DISCARDED), ("a", State.DISCARDED)]
    caught = [("a", State.DISHONEST), ("b", State.DISCARDED)]
    assert allocate(("a", "b"), honest[:2]).name == "a"
    assert allocate(("a", "b"), caught).name == "b"  # the other takes its next turn
    assert allocate(("a", "b"), [*caught, ("b", State.DISCARDED)]).name == "a"  # and then they are even
    assert "a lost 1 turn(s) to dishonest proposals" in allocate(("a", "b"), caught).reason
    assert allocate(("a", "b"), [("a", State.DISCARDED)], streak=3).name == "a"
    assert allocate(("a", "b"), [("a", State.DISHONEST)], streak=3).name == "b"
    star = [("a", State.KEPT), ("b", State.DISCARDED)] * 3
    assert allocate(("a", "b"), star).name == "a"
    assert allocate(("a", "b"), [*star, ("a", State.DISHONEST)]).name == "b"  # no keep rate makes up for it at once
    assert allocate(("a",), [("a", State.DISHONEST)]).name == "a"  # there is no other name

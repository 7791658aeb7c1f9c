"""Allocation of proposals to classes of ideas: in turn, and more often to those whose ideas were kept more often.

A class gets a few proposals in a row, because its files are then read from the prompt cache. A bandit (Thompson
sampling) with the same streaks does no better in a simulation (dev/benchmarks/proposer.md), so the simpler rule, which
the ledger explains, stays.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from common.state import State
from experiments.ledger.rows import Row
from experiments.proposal.schema import ProposalClass

CLASSES: tuple[str, ...] = get_args(ProposalClass)
STREAK = 3  # proposals of a class in a row
DISHONEST_COST = 2  # turns that a dishonest proposal costs its class: its own and the next
PRIOR_KEEPS, PRIOR_TRIES = 1.0, 8.0  # the prior of a class: about the rate at which pocket ideas are kept


@dataclass(frozen=True)
class Allocation:
    """The name whose turn it is, and the reason in one line."""

    name: str
    reason: str


def allocate(names: Sequence[str], history: Sequence[tuple[str, State]], streak: int = 1) -> Allocation:
    """Choose the next of `names`, so that each gets turns in proportion to its smoothed keep rate.

    A dishonest proposal ends its name's streak and costs it the next turn, whatever its rate.

    Args:
        names: The names to choose from; ties go to the first.
        history: (name, final state) of every turn so far, in order; other names are ignored.
        streak: How many turns in a row a name gets.
    """
    turns = [(name, state) for name, state in history if name in names]
    run = 0
    for name, _ in reversed(turns):
        if name != turns[-1][0]:
            break
        run += 1
    if run % streak and turns[-1][1] is not State.DISHONEST:
        name = turns[-1][0]
        return Allocation(name, f"{name} gets {streak} proposals in a row, this is number {run % streak + 1}")
    tries: Counter[str] = Counter()
    for name, state in turns:
        tries[name] += DISHONEST_COST if state is State.DISHONEST else 1
    keeps = Counter(name for name, state in turns if state is State.KEPT)
    dishonest = Counter(name for name, state in turns if state is State.DISHONEST)
    rates = {name: (PRIOR_KEEPS + keeps[name]) / (PRIOR_TRIES + tries[name]) for name in names}
    sits_out = turns[-1][0] if turns and turns[-1][1] is State.DISHONEST else ""
    best = min([name for name in names if name != sits_out] or names, key=lambda name: (tries[name] + 1) / rates[name])
    cost = "".join(f"; {name} lost {count} turn(s) to dishonest proposals" for name, count in sorted(dishonest.items()))
    return Allocation(
        best,
        f"{best} had {tries[best]} turns and was kept {keeps[best]} times; at its smoothed keep rate of "
        f"{rates[best]:.0%} it has had the smallest part of its share{cost}",
    )


def allocate_class(rows: Sequence[Row], skip: Sequence[str] = ()) -> Allocation:
    """Choose the class of the next idea."""
    names = [name for name in CLASSES if name not in skip] or CLASSES
    return allocate(names, [(row.kind, row.state) for row in rows if is_turn(row)], STREAK)


def is_turn(row: Row) -> bool:
    """Return whether a row used up a turn: every attempt but the baseline, also one under way."""
    return row.state.counts_as_attempt and row.state is not State.BASELINE

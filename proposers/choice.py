"""Whose turn it is: classes of ideas one after another, those that were kept more often coming round more often.

A class stays for a few proposals, because its files are then read from the prompt cache. A bandit (Thompson sampling)
that does so too finds no more in a simulation (dev/benchmarks/proposer.md): the rule that the ledger explains stands.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from data.state import State
from experiments.ledger import Row
from experiments.proposal import Class

CLASSES: tuple[str, ...] = get_args(Class)
STAY = 3  # proposals of a class in a row
PRIOR_KEEPS, PRIOR_TRIES = 1.0, 8.0  # what a class is given on trust: about the rate at which pocket ideas are kept


@dataclass(frozen=True)
class Choice:
    """A name whose turn it is, and why in one line."""

    name: str
    why: str


def turn(names: Sequence[str], history: Sequence[tuple[str, bool]], stay: int = 1) -> Choice:
    """The next of `names` after (name, kept) of all before: tries in proportion to a cautious keep rate."""
    known = [(name, kept) for name, kept in history if name in names]
    run = 0
    for name, _ in reversed(known):
        if name != known[-1][0]:
            break
        run += 1
    if run % stay:
        return Choice(known[-1][0], f"{known[-1][0]} stays for {stay} proposals, this is number {run % stay + 1}")
    tries, keeps = Counter(name for name, _ in known), Counter(name for name, kept in known if kept)
    rates = {name: (PRIOR_KEEPS + keeps[name]) / (PRIOR_TRIES + tries[name]) for name in names}
    best = min(names, key=lambda name: (tries[name] + 1) / rates[name])
    return Choice(
        best,
        f"{best} was tried {tries[best]} times and kept {keeps[best]}, its cautious rate is {rates[best]:.0%}: "
        "the smallest share so far of what that rate deserves",
    )


def next_class(rows: Sequence[Row], skip: Sequence[str] = ()) -> Choice:
    """The class that the next idea shall be of."""
    names = [name for name in CLASSES if name not in skip] or CLASSES
    return turn(names, [(row.kind, row.state is State.KEPT) for row in rows if counted(row)], STAY)


def counted(row: Row) -> bool:
    """Whether a row is somebody's turn: trials that count, and those under way."""
    return row.state.counts and row.state is not State.BASELINE

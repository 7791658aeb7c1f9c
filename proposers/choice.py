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
DISHONEST_TURNS = 2  # what a dishonest proposal costs: its own turn and the next
PRIOR_KEEPS, PRIOR_TRIES = 1.0, 8.0  # what a class is given on trust: about the rate at which pocket ideas are kept


@dataclass(frozen=True)
class Choice:
    """A name whose turn it is, and why in one line."""

    name: str
    why: str


def turn(names: Sequence[str], history: Sequence[tuple[str, State]], stay: int = 1) -> Choice:
    """The next of `names` after (name, end) of all before: tries in proportion to a cautious keep rate.

    One that ended as dishonest costs its name the rest of its stay and the next turn, whatever its rate.
    """
    known = [(name, end) for name, end in history if name in names]
    run = 0
    for name, _ in reversed(known):
        if name != known[-1][0]:
            break
        run += 1
    if run % stay and known[-1][1] is not State.DISHONEST:
        return Choice(known[-1][0], f"{known[-1][0]} stays for {stay} proposals, this is number {run % stay + 1}")
    tries: Counter[str] = Counter()
    for name, end in known:
        tries[name] += DISHONEST_TURNS if end is State.DISHONEST else 1
    keeps = Counter(name for name, end in known if end is State.KEPT)
    lies = Counter(name for name, end in known if end is State.DISHONEST)
    rates = {name: (PRIOR_KEEPS + keeps[name]) / (PRIOR_TRIES + tries[name]) for name in names}
    sits_out = known[-1][0] if known and known[-1][1] is State.DISHONEST else ""
    best = min([name for name in names if name != sits_out] or names, key=lambda name: (tries[name] + 1) / rates[name])
    cost = "".join(f"; {name} lost {count} turn(s) by dishonest proposals" for name, count in sorted(lies.items()))
    return Choice(
        best,
        f"{best} had {tries[best]} turns and was kept {keeps[best]} times, its cautious rate is {rates[best]:.0%}: "
        f"the smallest share so far of what that rate deserves{cost}",
    )


def next_class(rows: Sequence[Row], skip: Sequence[str] = ()) -> Choice:
    """The class that the next idea shall be of."""
    names = [name for name in CLASSES if name not in skip] or CLASSES
    return turn(names, [(row.kind, row.state) for row in rows if counted(row)], STAY)


def counted(row: Row) -> bool:
    """Whether a row is somebody's turn: trials that count, and those under way."""
    return row.state.counts and row.state is not State.BASELINE

"""Numbers to the search, structure to the LLM, and now and then two near-misses in one."""

from data.errors import Exhausted
from experiments.ledger import Row
from experiments.state import State
from proposers import Options, Proposer
from proposers.anthropic_api import Anthropic
from proposers.choice import Choice, counted, turn
from proposers.context import Context
from proposers.conversation import note
from proposers.digest import field_of
from proposers.merge import merge
from proposers.search import search

NUMBERS, STRUCTURE, MERGED = "search", "structure", "merge"
BETWEEN_MERGES = 6  # other proposals


class Mix:
    """Each in turn, by what was kept of it; a merge whenever there is a new pair and the last one is a while ago."""

    def __init__(self, options: Options) -> None:
        self.structure = Anthropic(options, numbers_elsewhere=True)
        self.arms: dict[str, Proposer] = {
            NUMBERS: search(options),
            STRUCTURE: self.structure,
            MERGED: merge(options),
        }
        self.chosen: Proposer | None = None

    def choose(self, context: Context) -> Choice:
        """Whose turn it is."""
        return turn((STRUCTURE, NUMBERS), [(arm_of(row), row.state is State.KEPT) for row in made(context)])

    def propose(self, context: Context) -> str:
        last = [arm_of(row) for row in made(context)][-BETWEEN_MERGES:]
        if len(last) == BETWEEN_MERGES and MERGED not in last:
            try:
                return self._from(MERGED, context)
            except Exhausted:
                pass  # no pair: nothing is lost, the others go on
        chosen = self.choose(context).name
        try:
            return self._from(chosen, context)
        except Exhausted as reason:
            note(f"{reason}; the other proposer goes on")
            return self._from(NUMBERS if chosen == STRUCTURE else STRUCTURE, context)

    def explain(self, context: Context, whole: bool) -> str:
        choice = self.choose(context)
        asked = self.structure.explain(context, whole)
        return f"turn     {choice.name}: {choice.why}\n{asked}"

    def _from(self, arm: str, context: Context) -> str:
        self.chosen = self.arms[arm]
        return self.chosen.propose(context)

    def repair(self, message: str) -> str | None:
        return self.chosen.repair(message) if self.chosen else None


def made(context: Context) -> list[Row]:
    return [row for row in context.rows if counted(row)]


def arm_of(row: Row) -> str:
    by = field_of(row, "by")
    return by if by in (NUMBERS, MERGED) else STRUCTURE


def mix(options: Options) -> Mix:
    return Mix(options)

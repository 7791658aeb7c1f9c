"""Numbers to the search, structure to the LLM, and now and then two near-misses in one."""

from data.errors import Exhausted
from experiments.ledger import Row
from experiments.proposal import MERGE, SEARCH, by_of
from proposers import Options, Proposer
from proposers.anthropic_api import Anthropic
from proposers.choice import Choice, counted, turn
from proposers.context import Context
from proposers.merge import Merge
from proposers.notes import note
from proposers.search import search

STRUCTURE = "structure"
BETWEEN_MERGES = 6  # other proposals


class Mix:
    """Each in turn, by what was kept of it; a merge whenever there is a new pair and the last one is a while ago."""

    def __init__(self, options: Options) -> None:
        self.structure, self.merging = Anthropic(options, numbers_elsewhere=True), Merge()
        self.arms: dict[str, Proposer] = {STRUCTURE: self.structure, SEARCH: search(options)}
        self.chosen: Proposer | None = None

    def choose(self, context: Context) -> Choice:
        """Whose turn it is."""
        return turn(list(self.arms), [(arm_of(row), row.state) for row in made(context)])

    def propose(self, context: Context) -> str:
        last = [arm_of(row) for row in made(context)][-BETWEEN_MERGES:]
        due = len(last) == BETWEEN_MERGES and MERGE not in last
        if due and (united := self.merging.find(context)):
            return united
        first = self.choose(context).name
        self.chosen = self.arms[first]
        try:
            return self.chosen.propose(context)
        except Exhausted as reason:
            note(f"{reason}; the other proposer goes on")
        (self.chosen,) = (arm for name, arm in self.arms.items() if name != first)
        return self.chosen.propose(context)

    def explain(self, context: Context, whole: bool) -> str:
        choice = self.choose(context)
        asked = self.structure.explain(context, whole)
        return f"turn     {choice.name}: {choice.why}\n{asked}"

    def repair(self, message: str) -> str | None:
        return self.chosen.repair(message) if self.chosen else None


def made(context: Context) -> list[Row]:
    return [row for row in context.rows if counted(row)]


def arm_of(row: Row) -> str:
    by = by_of(row.proposal)
    return by if by in (SEARCH, MERGE) else STRUCTURE


def mix(options: Options) -> Mix:
    return Mix(options)

"""The mix proposer: numbers from the search, structural changes from the LLM, and occasional merges of near misses."""

from common.errors import Exhausted
from experiments.ledger.rows import Row
from experiments.proposal.options import ProposerOptions
from experiments.proposal.parts import MERGE, SEARCH, by_of
from proposers import Proposer
from proposers.allocation import Allocation, allocate, is_turn
from proposers.context import Context
from proposers.llm.anthropic import Anthropic
from proposers.merge import Merge
from proposers.notes import note
from proposers.search.tpe import search

STRUCTURE = "structure"
BETWEEN_MERGES = 6  # other proposals


class Mix(Proposer):
    """Allocate turns to search and LLM by their keep rates, with a merge in between if there is a new pair."""

    def __init__(self, options: ProposerOptions) -> None:
        self.structure, self.merge = Anthropic(options, numbers_elsewhere=True), Merge()
        self.arms: dict[str, Proposer] = {STRUCTURE: self.structure, SEARCH: search(options)}
        self.chosen: Proposer | None = None

    def choose(self, context: Context) -> Allocation:
        """Return the arm whose turn it is."""
        return allocate(list(self.arms), [(arm_of(row), row.state) for row in turns(context)])

    def propose(self, context: Context) -> str:
        last = [arm_of(row) for row in turns(context)][-BETWEEN_MERGES:]
        merge_due = len(last) == BETWEEN_MERGES and MERGE not in last
        if merge_due and (merged := self.merge.find(context)):
            return merged
        first = self.choose(context).name
        self.chosen = self.arms[first]
        try:
            return self.chosen.propose(context)
        except Exhausted as reason:
            note(f"{reason}; the other proposer takes over")
        (self.chosen,) = (arm for name, arm in self.arms.items() if name != first)
        return self.chosen.propose(context)

    def repair(self, message: str) -> str | None:
        return self.chosen.repair(message) if self.chosen else None

    def explain(self, context: Context, full: bool) -> str:
        choice = self.choose(context)
        return f"turn     {choice.name}: {choice.reason}\n{self.structure.explain(context, full)}"


def turns(context: Context) -> list[Row]:
    return [row for row in context.rows if is_turn(row)]


def arm_of(row: Row) -> str:
    by = by_of(row.proposal)
    return by if by in (SEARCH, MERGE) else STRUCTURE

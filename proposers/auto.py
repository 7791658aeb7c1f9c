"""The proposer for who names none: the shipped proposals first, then numeric search for as long as the night lasts."""

from data.errors import NoProposal
from proposers import Options
from proposers.context import Context
from proposers.scripted import scripted
from proposers.search import search


class Auto:
    """Asks the second when the first has nothing left."""

    def __init__(self, options: Options) -> None:
        self.first, self.second = scripted(options), search(options)

    def propose(self, context: Context) -> str:
        try:
            return self.first.propose(context)
        except NoProposal:
            return self.second.propose(context)

    def repair(self, message: str) -> str | None:
        return None


def auto(options: Options) -> Auto:
    return Auto(options)

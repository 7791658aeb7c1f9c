"""The default proposer: the shipped proposals first, then numeric search for the rest of the run."""

from common.errors import NoProposal
from experiments.proposal.options import ProposerOptions
from proposers import Proposer
from proposers.context import Context
from proposers.scripted import scripted
from proposers.search.tpe import search


class Auto(Proposer):
    """Replay the scripted proposals and switch to the search when they are used up."""

    def __init__(self, options: ProposerOptions) -> None:
        self.script, self.search = scripted(options), search(options)

    def propose(self, context: Context) -> str:
        try:
            return self.script.propose(context)
        except NoProposal:
            return self.search.propose(context)

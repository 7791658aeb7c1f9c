"""The proposer interface, and the table of built-in proposers, whose modules are imported on first use."""

from abc import ABC, abstractmethod
from importlib import import_module

from common.errors import NeedsPerson, NoProposal
from experiments.proposal.options import ProposerOptions
from proposers.context import Context

PROPOSERS = {  # name -> module:factory; a factory takes the ProposerOptions
    "auto": "proposers.auto:Auto",
    "scripted": "proposers.scripted:scripted",
    "search": "proposers.search.tpe:search",
    "command": "proposers.command:Command",
    "anthropic": "proposers.llm.anthropic:Anthropic",
    "merge": "proposers.merge:merge",
    "mix": "proposers.mix:Mix",
}


class Proposer(ABC):
    """Base class of everything that can propose the next experiment.

    A proposer answers in text. `proposers.reply` finds the proposal in it, checks it against the incumbent's code and
    the trials so far, and asks for a repair if it does not apply.

    Example:
        class DoubleWeightDecay(Proposer):
            def propose(self, context: Context) -> str:
                before, after = (f"    weight_decay: float = knob({value}" for value in (0.04, 0.08))
                edit = {"path": "base/config.py", "search": before, "replace": after}
                return json.dumps({
                    "title": "Weight decay 0.04 to 0.08",
                    "hypothesis": "Smaller weights compress better.",
                    "class": "optimizer",
                    "expected_delta_bpb": -0.001,
                    "edits": [edit],
                })
    """

    @abstractmethod
    def propose(self, context: Context) -> str:
        """Return the next proposal.

        Args:
            context: The brief, the incumbent's code and every trial so far.

        Returns:
            Text that contains the proposal as a JSON object (`experiments.proposal.schema.Proposal`).

        Raises:
            NoProposal: There is nothing left to propose; Exhausted if another proposer may still have something.
            ProposerFailed: The proposer failed this time; the loop asks again after a pause.
            NeedsPerson: The proposer cannot go on without its user, for example without an API key.
        """

    def repair(self, message: str) -> str | None:
        """Return a corrected proposal, given what was wrong with the last one; None if the proposer cannot."""
        return None

    def explain(self, context: Context, full: bool) -> str:
        """Describe what `propose` would ask for and why, without asking.

        Args:
            context: The view of the run that `propose` would get.
            full: Show the prompt itself, not only a summary of what was tried.

        Raises:
            NoProposal: The proposer has no prompt to show.
        """
        raise NoProposal("--dry-run and --explain are for --proposer anthropic and mix; the others have no prompt")


def make_proposer(name: str, options: ProposerOptions) -> Proposer:
    """Return the built-in proposer called `name`; raise NeedsPerson if there is none."""
    if name not in PROPOSERS:
        raise NeedsPerson(f"got proposer {name!r}, expected one of {', '.join(PROPOSERS)}")
    module, _, factory = PROPOSERS[name].partition(":")
    proposer: Proposer = getattr(import_module(module), factory)(options)
    return proposer

"""Who proposes: a Protocol, and a table of names that are imported when asked for."""

from importlib import import_module
from pathlib import Path
from typing import Protocol

from data.errors import NoProposal
from proposers.context import Context

PROPOSERS = {"scripted": "proposers.scripted:Scripted"}


class Proposer(Protocol):
    """Answers in text; what the text is worth is decided by `proposers.reply`."""

    def propose(self, context: Context) -> str:
        """The next proposal, as JSON somewhere in the text; raises NoProposal with one line."""

    def repair(self, message: str) -> str | None:
        """A second try after `message` said what was wrong; None from a proposer that cannot."""


def proposer(name: str, script: Path | None) -> Proposer:
    if name not in PROPOSERS:
        raise NoProposal(f"got proposer {name!r}, expected one of {', '.join(PROPOSERS)}")
    module, _, attribute = PROPOSERS[name].partition(":")
    made: Proposer = getattr(import_module(module), attribute)(script)
    return made

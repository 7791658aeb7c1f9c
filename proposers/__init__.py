"""Who proposes: a Protocol, and a table of names that are imported when asked for."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

from data.errors import NeedsPerson, NoProposal
from proposers.context import Context

PROPOSERS = {
    "auto": "proposers.auto:auto",
    "scripted": "proposers.scripted:scripted",
    "search": "proposers.search:search",
    "random": "proposers.search:random_draws",
    "command": "proposers.command:command",
    "anthropic": "proposers.anthropic_api:anthropic_api",
    "merge": "proposers.merge:merge",
    "mix": "proposers.mix:mix",
}


@dataclass(frozen=True)
class Options:
    """What a person may tell a proposer; each reads what concerns it."""

    script: Path | None = None  # scripted: a folder of proposals
    joint: bool = False  # search: up to six knobs at once, also those that move bytes
    command: tuple[str, ...] = ()  # command: the program and its arguments
    show: tuple[Path, ...] = ()  # command: what the program may read besides
    passed: tuple[str, ...] = ()  # command: environment variables that it gets
    model: str = ""  # anthropic: another than the default
    effort: str = ""  # anthropic: how long it thinks
    budget_usd: float | None = None  # anthropic: what all calls of the run may cost together


class Proposer(Protocol):
    """Answers in text; what the text is worth is decided by `proposers.reply`."""

    def propose(self, context: Context) -> str:
        """The next proposal, as JSON somewhere in the text; raises NoProposal with one line."""

    def repair(self, message: str) -> str | None:
        """A second try after `message` said what was wrong; None from a proposer that cannot."""


@runtime_checkable
class Explains(Protocol):
    """A proposer that can say beforehand what it would ask, and why."""

    def explain(self, context: Context, whole: bool) -> str:
        """Why this class and parent with what was tried; `whole`: the prompt itself, its tokens and cost."""


def explained(made: Proposer, context: Context, whole: bool) -> str:
    """What a proposer would do, without doing it; raises NoProposal for one that cannot say."""
    if not isinstance(made, Explains):
        raise NoProposal("--dry-run and --explain are for --proposer anthropic and mix; the others have no prompt")
    return made.explain(context, whole)


def proposer(name: str, options: Options) -> Proposer:
    if name not in PROPOSERS:
        raise NeedsPerson(f"got proposer {name!r}, expected one of {', '.join(PROPOSERS)}")
    module, _, attribute = PROPOSERS[name].partition(":")
    made: Proposer = getattr(import_module(module), attribute)(options)
    return made

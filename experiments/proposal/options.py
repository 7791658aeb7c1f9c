"""Options of the proposers, declared once: `run`, `doctor` and generate_next.py take the same ones."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from common.errors import NeedsPerson
from common.options import option

PROPOSERS = ("auto", "scripted", "search", "command", "anthropic", "merge", "mix")


@dataclass(frozen=True)
class ProposerOptions:
    """Options of all proposers; each proposer reads those that concern it."""

    name: str = option("auto", "who proposes: " + ", ".join(PROPOSERS), name="proposer")
    script: Path | None = option(None, "scripted: folder of proposals to replay")
    joint: bool = option(False, "search: up to six knobs at once, width, depth and bits too")
    command: str = option("", "command: the program that proposes, with its arguments")
    show: list[Path] = option([], "command: a path that the program may read; can be given more than once")
    passed: list[str] = option(
        [], "command: an environment variable that the program gets; can be given more than once", name="pass"
    )
    model: str = option("", "anthropic, mix: a model other than the default")
    effort: str = option("", "anthropic, mix: low, medium, high, xhigh or max")
    budget_usd: float | None = option(None, "the most that calls and machine may cost together", minimum=0.0)

    @property
    def program(self) -> tuple[str, ...]:
        """The command split into a program and its arguments; raises NeedsPerson for an unclosed quote."""
        try:
            return tuple(shlex.split(self.command))
        except ValueError as error:
            raise NeedsPerson(f"--command: got {self.command!r}: {error}") from error

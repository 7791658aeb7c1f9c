"""The prompt, from templates: a prefix that stays the same byte for byte, then what was tried, then the question.

Three parts end in a cache breakpoint: the rules with the brief and the levers, what every prompt shows of base/, and
the files of the asked class. A template that names a value it was not given is an error, never an empty place.
"""

import json
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import jinja2

from experiments.tiers import stated
from preflight import limits
from preflight.boundary import LOCKED
from preflight.text import without_long_numbers
from preflight.tree import Tree
from proposers import lessons
from proposers.context import Context
from proposers.digest import digest, quoted
from proposers.outline import File, select

PROMPTS = Path(__file__).resolve().parent / "prompts"
CHARACTERS_PER_TOKEN = 2.5  # of code, on the safe side: models from Opus 4.7 on count about 30 % more than before
PREFIX_TOKENS = 60_000
REST_TOKENS = 6_000  # held by the caps of digest.py and lessons.py
MORE_FILES = 5


@dataclass(frozen=True)
class Prompt:
    """One question; each part of the prefix ends in a cache breakpoint."""

    prefix: tuple[str, ...]
    question: str


def tokens(characters: int, characters_per_token: float = CHARACTERS_PER_TOKEN) -> int:
    return ceil(characters / characters_per_token)


def prompt(context: Context, kind: str, numbers_elsewhere: bool = False, room: float = 1.0) -> Prompt:
    """The question for one class; `room` below 1 is for a context that overflowed."""
    ideas = (PROMPTS / "ideas.md").read_text(encoding="utf-8")
    rules = render(
        "rules.md.j2",
        program=context.program,
        ideas=ideas,
        target=context.target,
        files=limits.PROPOSAL_FILES,
        lines=limits.PROPOSAL_LINES,
        more_files=MORE_FILES,
        budgets=stated(context.profile.tier),
        locked=sorted(LOCKED),
    )
    left = int(room * PREFIX_TOKENS * CHARACTERS_PER_TOKEN) - len(rules) - 2_000  # headings and tags
    shown = select(context.tree, kind, context.rows, left)
    tried = render("digest.md.j2", **digest(context, room))
    ask = render(
        "ask.md.j2",
        kind=kind,
        target=context.target,
        numbers_elsewhere=numbers_elsewhere,
        lessons_due=lessons.due(context),
        lessons_count=lessons.LINES,
        lesson_characters=lessons.LINE_CHARACTERS,
    )
    base = render("base.md.j2", outlines=shown.outlines, common=shown.common)
    return Prompt((rules, base, render("class.md.j2", kind=kind, of_class=shown.of_class)), tried + "\n" + ask)


def more_files(tree: Tree, wanted: list[str]) -> str:
    """The answer to a reply that asks for files."""
    named = list(dict.fromkeys(wanted))[:MORE_FILES]
    found = [File(path, tree[path].content.decode("utf-8", "replace")) for path in named if path in tree]
    missing = [quoted(path) for path in named if path not in tree]
    return render("files.md.j2", files=found, missing=missing)


def repair(verdict: str, message: str) -> str:
    """What goes back to a proposer whose answer was refused."""
    return render("repair.md.j2", verdict=verdict, message=message)


def schema() -> dict[str, Any]:
    """The shape of a reply; the same for every call, since a change of it empties the prompt cache."""
    loaded: dict[str, Any] = json.loads((PROMPTS / "reply.schema.json").read_text(encoding="utf-8"))
    return loaded


def render(name: str, **values: Any) -> str:
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PROMPTS),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # prompts are no HTML; what is untrusted is quoted (proposers/digest.py)
    )
    made.filters |= {"quoted": quoted, "without_long_numbers": without_long_numbers}
    return made

"""The prompt, rendered from templates: a prefix that stays the same byte for byte, then the digest, then the question.

Three parts end in a cache breakpoint: the rules with the brief and the ideas, the files of base/ that every prompt
shows, and the files of the class. A template that names an undefined value is an error.
"""

import json
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import jinja2

from common import limits
from common.text import without_long_numbers
from experiments.tiers import budget_lines
from preflight.source.boundary import LOCKED
from preflight.source.tree import Tree
from proposers.context import Context
from proposers.llm import lessons
from proposers.llm.code_context import File, select
from proposers.llm.history import digest, quoted

PROMPTS = Path(__file__).resolve().parent / "prompts"
CHARACTERS_PER_TOKEN = 2.5  # of code, a conservative value: models since Opus 4.7 count about 30 % more tokens
PREFIX_TOKENS = 60_000
REST_TOKENS = 6_000  # guaranteed by the limits of history.py and lessons.py
MORE_FILES = 5


@dataclass(frozen=True)
class Prompt:
    """One question; each part of the prefix ends in a cache breakpoint."""

    prefix: tuple[str, ...]
    question: str


def tokens(characters: int, characters_per_token: float = CHARACTERS_PER_TOKEN) -> int:
    return ceil(characters / characters_per_token)


def prompt(context: Context, kind: str, numbers_elsewhere: bool = False, room: float = 1.0) -> Prompt:
    """Write the prompt for one class of idea.

    Args:
        context: The run.
        kind: The class.
        numbers_elsewhere: A numeric search runs in the same run, so ask for structural changes only.
        room: Share of the usual room to fill; below 1 after the prompt was too long.
    """
    ideas = (PROMPTS / "ideas.md").read_text(encoding="utf-8")
    rules = render(
        "rules.md.j2",
        program=context.program,
        ideas=ideas,
        target=context.target,
        files=limits.PROPOSAL_FILES,
        lines=limits.PROPOSAL_LINES,
        more_files=MORE_FILES,
        budgets=budget_lines(context.profile.tier),
        locked=sorted(LOCKED),
    )
    remaining = int(room * PREFIX_TOKENS * CHARACTERS_PER_TOKEN) - len(rules) - 2_000  # headings and tags
    shown = select(context.tree, kind, context.rows, remaining)
    history = render("digest.md.j2", **digest(context, room))
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
    return Prompt((rules, base, render("class.md.j2", kind=kind, of_class=shown.of_class)), history + "\n" + ask)


def more_files(tree: Tree, wanted: list[str]) -> str:
    """Return the message that sends the files a reply asks for."""
    paths = list(dict.fromkeys(wanted))[:MORE_FILES]
    files = [File(path, tree[path].content.decode("utf-8", "replace")) for path in paths if path in tree]
    missing = [quoted(path) for path in paths if path not in tree]
    return render("files.md.j2", files=files, missing=missing)


def schema() -> dict[str, Any]:
    """Return the JSON schema of a reply, the same for every call: a change would invalidate the prompt cache."""
    loaded: dict[str, Any] = json.loads((PROMPTS / "reply.schema.json").read_text(encoding="utf-8"))
    return loaded


def render(name: str, **values: Any) -> str:
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PROMPTS),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # a prompt is not HTML; untrusted text is quoted (proposers/llm/history.py)
    )
    environment.filters |= {"quoted": quoted, "without_long_numbers": without_long_numbers}
    return environment

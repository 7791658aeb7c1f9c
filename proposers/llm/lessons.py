"""Lessons that the model writes down every few trials: bounded, stored in the ledger, and shown as a Markdown page."""

import json
from contextlib import closing

from common.text import one_line
from experiments.ledger.store import Ledger
from proposers.context import Context

LINES, LINE_CHARACTERS = 10, 220
EVERY = 10  # settled trials between two versions
FACT, FACT_AT = "lessons", "lessons_at"  # names in the ledger


def load(context: Context) -> list[str]:
    """Return the lines as they were last written."""
    return [one_line(str(line), LINE_CHARACTERS) for line in json.loads(_fact(context, FACT) or "[]")][:LINES]


def due(context: Context) -> bool:
    """Return whether enough trials have settled since the last version to ask for a new one."""
    return settled(context) - int(_fact(context, FACT_AT) or 0) >= EVERY


def save(context: Context, lines: list[str]) -> None:
    """Replace the lessons."""
    kept = [one_line(line, LINE_CHARACTERS) for line in lines[:LINES]]
    with closing(Ledger(context.ledger)) as ledger:
        ledger.set_fact(FACT, json.dumps(kept))
        ledger.set_fact(FACT_AT, str(settled(context)))
    page = f"# Lessons of run {context.run} after {settled(context)} trials, as the model wrote them\n\n"
    (context.ledger.parent / "lessons.md").write_text(page + "".join(f"- {line}\n" for line in kept), encoding="utf-8")


def settled(context: Context) -> int:
    """Return the number of attempts that have ended."""
    return sum(row.state.finished and row.state.counts_as_attempt for row in context.rows)


def _fact(context: Context, name: str) -> str | None:
    with closing(Ledger(context.ledger)) as ledger:
        return ledger.fact(name)

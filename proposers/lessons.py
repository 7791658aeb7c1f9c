"""What the model writes down for itself every few trials: bounded, in the ledger, and as a page for people."""

import json
from contextlib import closing

from experiments.ledger import Ledger
from preflight.text import one_line
from proposers.context import Context

LINES, LINE_CHARACTERS = 10, 220
EVERY = 10  # settled trials
FACT, FACT_AT = "lessons", "lessons_at"  # in the ledger


def known(context: Context) -> list[str]:
    """The lines as they were last written."""
    return [one_line(str(line), LINE_CHARACTERS) for line in json.loads(_fact(context, FACT) or "[]")][:LINES]


def due(context: Context) -> bool:
    """Whether so many trials have settled since the lessons were written that they shall be written anew."""
    return settled(context) - int(_fact(context, FACT_AT) or 0) >= EVERY


def keep(context: Context, lines: list[str]) -> None:
    """Write them anew."""
    kept = [one_line(line, LINE_CHARACTERS) for line in lines[:LINES]]
    with closing(Ledger(context.ledger)) as ledger:
        ledger.set_fact(FACT, json.dumps(kept))
        ledger.set_fact(FACT_AT, str(settled(context)))
    page = f"# Lessons of run {context.run} after {settled(context)} trials, as the model put them\n\n"
    (context.ledger.parent / "lessons.md").write_text(page + "".join(f"- {line}\n" for line in kept), encoding="utf-8")


def settled(context: Context) -> int:
    return sum(row.state.finished and row.state.counts for row in context.rows)


def _fact(context: Context, name: str) -> str | None:
    with closing(Ledger(context.ledger)) as ledger:
        return ledger.fact(name)

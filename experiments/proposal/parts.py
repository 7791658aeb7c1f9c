"""Fields of a proposal read from text that may not be a valid proposal, as a row of the ledger keeps it."""

import json
import re

from common.text import one_line

IDEA_TAG = "[A-Z][0-9]{1,2}"  # of an idea in proposers/llm/prompts/ideas.md

SEARCH, MERGE, PERSON = "search", "merge", "person"  # values of `by`, besides models and programs

REFUSED = "refused"  # the field that replaces a proposal if there is none: the reason

UNREADABLE = "unreadable proposal"


def title_of(text: str) -> str:
    """Return the title, or a stand-in: the name of the row, and what the scripted proposer recognizes trials by."""
    title = part_of(text, "title")
    return UNREADABLE if title is None else one_line(str(title)) or UNREADABLE


def part_of(text: str, name: str) -> object:
    """Return one field of a proposal; None if the text has no such field."""
    try:
        return json.loads(text)[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def edits_of(text: str) -> str:
    """Return the edits in a canonical form; empty if there are none."""
    edits = part_of(text, "edits")
    if not isinstance(edits, list) or not edits:
        return ""
    read = [edit for edit in edits if isinstance(edit, dict)]
    return json.dumps([{name: edit[name] for name in sorted(edit) if edit[name] is not None} for edit in read])


def by_of(text: str) -> str:
    """Return the author of a proposal: a model, a program, or a proposer of caddie."""
    return str(part_of(text, "by") or "")


def idea_of(text: str) -> str:
    """Return the tag of the idea that a proposal takes up; empty if it names none."""
    tag = str(part_of(text, "idea") or "")
    return tag if re.fullmatch(IDEA_TAG, tag) else ""

"""JSON objects wherever they stand in a text: bare, fenced, between prose and code, inside one another, broken off.

The text is read once: where an attempt breaks off, the search goes on from there, and what was whole inside it is kept.
"""

import json
import re
import sys
from collections import deque
from dataclasses import dataclass, field

OPENS = re.compile(r'\{\s*["}]')  # how an object begins; a dictionary of Python or a block of C does not
KEYS = ('"title"', '"hypothesis"', '"edits"')  # of a proposal
BLANKS = ("...", "…", "<")  # what a template has in place of a value
MOST_CHARACTERS = 4 << 20  # of a text, its end: the answer comes last
MOST_KEPT = 1000
STRIDE = 1 << 12  # an error of the decoder counts the lines before it, so the text is cut off behind us


@dataclass
class Objects:
    """What a text holds: objects that stand alone, those with edits wherever they stand, and where others break off."""

    outermost: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=MOST_KEPT))
    with_edits: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=MOST_KEPT))
    broken: str = ""  # where and why the longest attempt breaks off
    proposal_broken: str = ""  # where one breaks off that reads like a proposal, if none with edits follows


def objects(text: str) -> Objects:
    """All JSON objects in the last MOST_CHARACTERS of a text, in the order in which they end."""
    found, longest = Objects(), 0
    inner: list[dict[str, object]] = []

    def ended(value: dict[str, object]) -> dict[str, object]:
        if isinstance(value.get("edits"), list):
            inner.append(value)
        return value

    decoder = json.JSONDecoder(object_hook=ended)
    before = max(len(text) - MOST_CHARACTERS, 0)
    rest, at = text[before:], 0
    while opening := OPENS.search(rest, at):
        at = opening.start()
        if at > STRIDE:
            rest, before, at = rest[at:], before + at, 0
        inner.clear()
        try:
            value, end = decoder.raw_decode(rest, at)
            found.outermost.append(value)
        except json.JSONDecodeError as error:
            end = max(error.pos, at + 1)
            if end - at > longest:
                longest, found.broken = end - at, _place(text, before + error.pos, error.msg)
            template = rest.startswith(BLANKS, error.pos)
            if not template and sum(rest.find(key, at, end) >= 0 for key in KEYS) > 1:
                found.proposal_broken = _place(text, before + error.pos, error.msg)
        except ValueError as error:  # a number of more digits than Python reads
            end = at + 1
            found.broken = found.broken or _place(text, before + at, str(error))
        except RecursionError:
            end = at + sys.getrecursionlimit()  # a level is a character at least
            found.broken = found.broken or _place(text, before + at, "nested too deeply")
        if inner:
            found.with_edits.extend(inner)
            found.proposal_broken = ""
        at = end
    return found


def _place(text: str, position: int, why: str) -> str:
    line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
    return f"line {line}, column {column}: {why}"

"""A parser for JSON objects anywhere in a text: bare, fenced, between prose and code, nested, or cut off.

It makes a single pass over the text: after an object that breaks off, it continues from that position and keeps the
complete objects that were nested in it.
"""

import json
import re
import sys
from collections import deque
from dataclasses import dataclass, field

OPENING = re.compile(r'\{\s*["}]')  # the start of an object, but not of a Python dictionary or a block of C
KEYS = ('"title"', '"hypothesis"', '"edits"')  # of a proposal
PLACEHOLDERS = ("...", "…", "<")  # in templates, where a value would be
MAX_CHARACTERS = 4 << 20  # of a text; the end is read, because the answer comes last
MAX_OBJECTS = 1000
STRIDE = 1 << 12  # a decoding error counts the lines before its position, so text that was read is cut off now and then


@dataclass
class JsonObjects:
    """The JSON objects of a text, in the order in which they end."""

    outermost: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=MAX_OBJECTS))
    with_edits: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=MAX_OBJECTS))  # at any depth
    broken: str = ""  # position and reason of the longest object that breaks off
    proposal_broken: str = ""  # the same for one that looks like a proposal, unless one with edits follows


def find_objects(text: str) -> JsonObjects:
    """Return all JSON objects in the last MAX_CHARACTERS of a text."""
    result, longest = JsonObjects(), 0
    nested: list[dict[str, object]] = []

    def collect(value: dict[str, object]) -> dict[str, object]:
        if isinstance(value.get("edits"), list):
            nested.append(value)
        return value

    decoder = json.JSONDecoder(object_hook=collect)
    before = max(len(text) - MAX_CHARACTERS, 0)
    rest, at = text[before:], 0
    while opening := OPENING.search(rest, at):
        at = opening.start()
        if at > STRIDE:
            rest, before, at = rest[at:], before + at, 0
        nested.clear()
        try:
            value, end = decoder.raw_decode(rest, at)
            result.outermost.append(value)
        except json.JSONDecodeError as error:
            end = max(error.pos, at + 1)
            if end - at > longest:
                longest, result.broken = end - at, _position(text, before + error.pos, error.msg)
            is_template = rest.startswith(PLACEHOLDERS, error.pos)
            if not is_template and sum(rest.find(key, at, end) >= 0 for key in KEYS) > 1:
                result.proposal_broken = _position(text, before + error.pos, error.msg)
        except ValueError as error:  # a number with more digits than Python reads
            end = at + 1
            result.broken = result.broken or _position(text, before + at, str(error))
        except RecursionError:
            end = at + sys.getrecursionlimit()  # each level is at least one character
            result.broken = result.broken or _position(text, before + at, "nested too deeply")
        if nested:
            result.with_edits.extend(nested)
            result.proposal_broken = ""
        at = end
    return result


def _position(text: str, position: int, reason: str) -> str:
    line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
    return f"line {line}, column {column}: {reason}"

"""Search for an edit's text in a file: exactly, or up to invisible characters; otherwise with the reason why not.

What editors, terminals and models change without meaning it (line ends, spaces at line ends, tabs, non-breaking
spaces, zero-width characters) must not cost an idea; visible differences are never guessed away.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from common.text import one_line

TAB = 4
INVISIBLE: dict[str, Callable[[str], str]] = {  # kind of invisible difference -> how to normalize it
    "line ends": lambda text: text.replace("\r\n", "\n").replace("\r", "\n"),
    "spaces at line ends": lambda text: re.sub(r"[^\S\r\n]+(?=\r?\n)", "", text),
    "tabs": lambda text: "".join(" " * TAB if mark == "\t" else mark for mark in text),
    "non-breaking spaces": lambda text: "".join(" " if _is_odd_space(mark) else mark for mark in text),
    "zero-width characters": lambda text: "".join(mark for mark in text if not _has_no_width(mark)),
}
MAX_MATCHES, MAX_LINES, MAX_COMPARED_LINES = 100, 5_000, 300  # a proposal must not cost the loop minutes
SHOWN = 120  # characters of a line in a message


@dataclass(frozen=True)
class Match:
    """Characters `start` to `end` of a file, and the kinds of invisible characters that differ between them."""

    start: int
    end: int
    kinds: tuple[str, ...] = ()


def find_matches(text: str, search: str) -> list[Match]:
    """Return every match of a search text, overlapping ones included: exact ones, else those that look the same."""
    if exact := _starts(text, search):
        return [Match(start, start + len(search)) for start in exact]
    visible, offsets = _visible(text + "\n")  # as if the last line ended too
    wanted = _visible(search + "\n")[0][:-1]  # spaces at the end of a search text are those before a line's end
    if not wanted.strip():
        return []
    matches = []
    for start in _starts(visible, wanted):
        if start and offsets[start - 1] == offsets[start]:  # within a tab
            continue
        begin, end = offsets[start], min(offsets[start + len(wanted) - 1] + 1, len(text))
        matches.append(Match(begin, end, differing_kinds(f"{search}\n", f"{text[begin:end]}\n")))
    return matches


def differing_kinds(first: str, second: str) -> tuple[str, ...]:
    """Return the kinds of invisible characters that differ between two texts that look the same."""
    differ = (name for name, clean in INVISIBLE.items() if (clean(first) != first) != (clean(second) != second))
    return tuple(differ) or ("invisible characters",)


def normalize(text: str, kinds: tuple[str, ...]) -> str:
    """Return a replacement as the file writes it: LF line ends, without the characters its search text had wrong."""
    for name, clean in INVISIBLE.items():
        text = clean(text) if name in kinds or name == "line ends" else text
    return text


def explain_mismatch(search: str, text: str) -> str:
    """Say why a search text is not in a file: its first differing line, the kind of difference, the file's lines."""
    wanted, lines = (_visible(side)[0].removesuffix("\n").split("\n") for side in (search, text))
    first = next((number for number, line in enumerate(wanted) if line.strip()), None)
    if first is None:
        return "it is empty"
    at, agree = _closest(wanted[first:], lines)
    if at is None:
        return f"nothing like its line {first + 1} is there: {one_line(wanted[first].strip(), SHOWN)!r}"
    expected, actual = wanted[first + agree], lines[at + agree] if at + agree < len(lines) else None
    around = range(max(at + agree - 1, 0), min(at + agree + 2, len(lines)))
    shown = "; ".join(f"{number + 1}: {one_line(lines[number], SHOWN)!r}" for number in around)
    differs = f"its line {first + agree + 1}, {one_line(expected, SHOWN)!r}, differs from line {at + agree + 1}"
    return f"{differs} by {_difference(expected, actual)}; the file has {shown}"


def _difference(expected: str, actual: str | None) -> str:
    if actual is None:
        return "the end of the file"
    if not expected.strip() and actual.strip():
        return "an empty line that the file does not have"
    if expected.strip() and not actual.strip():
        return "an empty line that only the file has"
    if expected.strip() == actual.strip():
        only_spaces = {*expected, *actual} - {*expected.strip()} <= {" "}
        if _indent(expected) != _indent(actual) and only_spaces:
            return f"indentation of {_indent(expected)} spaces where the file has {_indent(actual)}"
        return "white space"
    return "different text"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _closest(wanted: list[str], lines: list[str]) -> tuple[int | None, int]:
    """Return the line of the file from which most lines agree with a search text, and how many of them agree."""
    bare, head = [line.strip() for line in lines[:MAX_LINES]], wanted[0].strip()
    starts = [number for number, line in enumerate(bare) if line.endswith(head)][:MAX_MATCHES]
    if not starts:
        near = difflib.get_close_matches(head, bare, n=1, cutoff=0.5)
        return (bare.index(near[0]), 0) if near else (None, 0)
    wanted = wanted[:MAX_COMPARED_LINES]
    agreeing = {start: _agreeing(wanted, lines[start : start + len(wanted)]) for start in starts}
    best = max(starts, key=lambda start: agreeing[start])
    return best, agreeing[best]


def _agreeing(wanted: list[str], lines: list[str]) -> int:
    """Count the lines that agree before the first difference; a search text may begin and end within a line."""
    for number, (expected, actual) in enumerate(zip(wanted, lines, strict=False)):
        if not (
            expected == actual
            or (number == 0 and actual.endswith(expected))
            or (number == len(wanted) - 1 and actual.startswith(expected))
        ):
            return number
    return min(len(wanted) - 1, len(lines))


def _starts(text: str, search: str) -> list[int]:
    starts: list[int] = []
    at = text.find(search)
    while at >= 0 and search and len(starts) < MAX_MATCHES:
        starts.append(at)
        at = text.find(search, at + 1)
    return starts


def _visible(text: str) -> tuple[str, list[int]]:
    """Return a text as it looks, and for each character its offset in the original."""
    shown: list[str] = []
    offsets: list[int] = []
    for at, mark in enumerate(text):
        if _has_no_width(mark) or (mark == "\r" and text[at + 1 : at + 2] == "\n"):
            continue
        if mark in "\r\n":
            while shown and shown[-1] == " ":
                shown.pop()
                offsets.pop()
            mark = "\n"
        looks_like = " " * TAB if mark == "\t" else " " if _is_odd_space(mark) else mark
        shown += looks_like
        offsets += [at] * len(looks_like)
    return "".join(shown), offsets


def _is_odd_space(mark: str) -> bool:
    return mark > "\x7f" and unicodedata.category(mark) == "Zs"


def _has_no_width(mark: str) -> bool:
    return mark > "\x7f" and unicodedata.category(mark) == "Cf"

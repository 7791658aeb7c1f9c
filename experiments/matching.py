"""Where a search text stands in a file: as it is written, but for characters that nobody sees, or nowhere, and why.

What editors, terminals and models change without meaning it (line ends, spaces at line ends, tabs, non-breaking
spaces, zero-width characters) must not cost an idea; what a reader can see is never guessed at.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from preflight.text import one_line

TAB = 4
INVISIBLE: dict[str, Callable[[str], str]] = {  # what differs -> how it is made plain
    "line ends": lambda text: text.replace("\r\n", "\n").replace("\r", "\n"),
    "spaces at line ends": lambda text: re.sub(r"[^\S\r\n]+(?=\r?\n)", "", text),
    "tabs": lambda text: "".join(" " * TAB if mark == "\t" else mark for mark in text),
    "non-breaking spaces": lambda text: "".join(" " if _is_odd_space(mark) else mark for mark in text),
    "zero-width characters": lambda text: "".join(mark for mark in text if not _has_no_width(mark)),
}
MOST_PLACES, MOST_LINES, MOST_COMPARED = 100, 5_000, 300  # looked at: a proposal must not cost the loop minutes
SHOWN = 120  # characters of a line in a message


@dataclass(frozen=True)
class Place:
    """Characters start to end of a file, and what kinds of invisible characters differ there."""

    start: int
    end: int
    kinds: tuple[str, ...] = ()


def places(text: str, search: str) -> list[Place]:
    """Every place of a search text, those that overlap too: exact ones, else those that look the same."""
    if exact := _starts(text, search):
        return [Place(start, start + len(search)) for start in exact]
    seen, offsets = _plain(text + "\n")  # as if the last line ended too
    wanted = _plain(search + "\n")[0][:-1]  # what stands before the end of a search text stands before a line's end
    if not wanted.strip():
        return []
    found = []
    for start in _starts(seen, wanted):
        if start and offsets[start - 1] == offsets[start]:  # within a tab
            continue
        place = Place(offsets[start], min(offsets[start + len(wanted) - 1] + 1, len(text)))
        found.append(Place(place.start, place.end, kinds(f"{search}\n", f"{text[place.start : place.end]}\n")))
    return found


def kinds(one: str, other: str) -> tuple[str, ...]:
    """The kinds of invisible characters in which two texts differ that look the same."""
    differ = (name for name, plain in INVISIBLE.items() if (plain(one) != one) != (plain(other) != other))
    return tuple(differ) or ("invisible characters",)


def plain(text: str, differ: tuple[str, ...]) -> str:
    """A replacement as the file writes it: line ends as LF, without the characters that its search text had wrong."""
    for name, made in INVISIBLE.items():
        text = made(text) if name in differ or name == "line ends" else text
    return text


def difference(search: str, text: str) -> str:
    """Why a search text is nowhere in a file: its first line that differs, how, and the file's own lines around it."""
    wanted, lines = (_plain(one)[0].removesuffix("\n").split("\n") for one in (search, text))
    first = next((number for number, line in enumerate(wanted) if line.strip()), None)
    if first is None:
        return "it is empty"
    at, agree = _closest(wanted[first:], lines)
    if at is None:
        return f"nothing like its line {first + 1} is there: {one_line(wanted[first].strip(), SHOWN)!r}"
    mine, theirs = wanted[first + agree], lines[at + agree] if at + agree < len(lines) else None
    around = range(max(at + agree - 1, 0), min(at + agree + 2, len(lines)))
    shown = "; ".join(f"{number + 1}: {one_line(lines[number], SHOWN)!r}" for number in around)
    differs = f"its line {first + agree + 1}, {one_line(mine, SHOWN)!r}, differs from line {at + agree + 1}"
    return f"{differs} by {_kind(mine, theirs)}; the file has {shown}"


def _kind(mine: str, theirs: str | None) -> str:
    if theirs is None:
        return "the end of the file"
    if not mine.strip() and theirs.strip():
        return "an empty line that the file has not"
    if mine.strip() and not theirs.strip():
        return "an empty line that only the file has"
    if mine.strip() == theirs.strip():
        told = f"indentation of {_indent(mine)} spaces where the file has {_indent(theirs)}"
        return (
            told if _indent(mine) != _indent(theirs) and {*mine, *theirs} - {*mine.strip()} <= {" "} else "white space"
        )
    return "another text"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _closest(wanted: list[str], lines: list[str]) -> tuple[int | None, int]:
    """The line of the file from which most lines agree with a search text, and how many do before one differs."""
    bare, head = [line.strip() for line in lines[:MOST_LINES]], wanted[0].strip()
    starts = [number for number, line in enumerate(bare) if line.endswith(head)][:MOST_PLACES]
    if not starts:
        near = difflib.get_close_matches(head, bare, n=1, cutoff=0.5)
        return (bare.index(near[0]), 0) if near else (None, 0)
    wanted = wanted[:MOST_COMPARED]
    agreeing = {start: _agreeing(wanted, lines[start : start + len(wanted)]) for start in starts}
    best = max(starts, key=lambda start: agreeing[start])
    return best, agreeing[best]


def _agreeing(wanted: list[str], lines: list[str]) -> int:
    """How many lines agree before one differs; a search text may begin and end within a line."""
    for number, (mine, theirs) in enumerate(zip(wanted, lines, strict=False)):
        whole = mine == theirs
        if not (
            whole or (number == 0 and theirs.endswith(mine)) or (number == len(wanted) - 1 and theirs.startswith(mine))
        ):
            return number
    return min(len(wanted) - 1, len(lines))


def _starts(text: str, search: str) -> list[int]:
    found: list[int] = []
    at = text.find(search)
    while at >= 0 and search and len(found) < MOST_PLACES:
        found.append(at)
        at = text.find(search, at + 1)
    return found


def _plain(text: str) -> tuple[str, list[int]]:
    """A text as it looks, and for each of its characters where it stood."""
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
        made = " " * TAB if mark == "\t" else " " if _is_odd_space(mark) else mark
        shown += made
        offsets += [at] * len(made)
    return "".join(shown), offsets


def _is_odd_space(mark: str) -> bool:
    return mark > "\x7f" and unicodedata.category(mark) == "Zs"


def _has_no_width(mark: str) -> bool:
    return mark > "\x7f" and unicodedata.category(mark) == "Cf"

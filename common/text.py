"""Untrusted text made safe to print, store and commit: one line, bounded, control characters escaped."""

import re
import textwrap
import unicodedata
from pathlib import Path

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, direction overrides, surrogates, line separators
HEXADECIMAL = set("0123456789abcdef")


def one_line(text: str, limit: int = 200) -> str:
    """Return `text` on one line of at most `limit` characters, with nothing that moves a cursor or breaks the line."""
    clipped = text[: limit * 4]
    shown = "".join(_escape(character) for character in clipped)
    return shown if len(shown) <= limit and len(text) <= limit * 4 else shown[: limit - 1] + "…"


def without_long_numbers(text: str) -> str:
    """Return `text` with every word of five or more digits, decimal or hexadecimal, as #: it may be a seed."""

    def masked(word: re.Match[str]) -> str:
        digits = sum(character.isdigit() for character in word[0])
        bare = word[0].lower().removeprefix("0x")
        return "#" if digits >= 5 or (digits and len(bare) >= 5 and set(bare) <= HEXADECIMAL) else word[0]

    return re.sub(r"\w+", masked, text)


def quoted(text: str, limit: int = 1000, width: int = 100) -> str:
    """Return a block for a commit message: every line starts with "> ", so none can pass for a trailer."""
    line = one_line(" ".join(text.split()), limit)
    return "\n".join("> " + part for part in textwrap.wrap(line, width)) or ">"


def tail(path: Path, limit: int = 300) -> str:
    """Return the last line of a log that names an error, or else the last non-empty one."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 8192))
        lines = [line for line in file.read().decode("utf-8", "backslashreplace").splitlines() if line.strip()]
    if not lines:
        return "no output"
    errors = [line for line in lines if "Error" in line.split(":", 1)[0]]
    return one_line((errors or lines)[-1], limit)


def _escape(character: str) -> str:
    if unicodedata.category(character) not in HIDDEN:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

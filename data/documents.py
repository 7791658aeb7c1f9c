"""Documents from a folder of text, and what became of every file: taken, mended, skipped or refused.

One document per file, or one per line of JSONL, compressed or not. What is no text in UTF-8 (or in UTF-16 and UTF-32
with their mark) is refused with its place rather than guessed at; documents that repeat are left out, so that none
stands in two splits; one that would fill a split alone is cut.
"""

import json
import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data.build import Documents
from data.errors import DataError
from data.text_files import PACKED, Unreadable, decoded, unpacked

TEXT = {".txt", ".md", ".rst"}
JSONL = {".jsonl", ".ndjson"}
KINDS = {
    type(None): "null",
    bool: "a truth value",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}
TAKEN, MENDED, SKIPPED, REFUSED = "taken", "mended", "skipped", "refused"
LARGEST, PIECE = 0.1, 0.01  # shares of all text: what is larger than the one is cut into pieces of the other
LEAST_PIECE = 1000  # characters
PLACES_SHOWN = 3


@dataclass
class Reading:
    """All documents of a folder by a name of their own, and what is to be said of it: (verdict, reason) -> places."""

    folder: Path
    documents: Documents = field(default_factory=dict)
    notes: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    files: int = 0
    repeats: int = 0

    def table(self) -> list[str]:
        """One line for everything that happened, the documents first."""
        lines = [f"{TAKEN:8} {len(self.documents):7,} documents of {self.files:,} files"]
        for verdict, reason in sorted(self.notes, key=lambda key: (MENDED, SKIPPED, REFUSED).index(key[0])):
            places = self.notes[verdict, reason]
            shown = ", ".join(places[:PLACES_SHOWN]) + (", …" if len(places) > PLACES_SHOWN else "")
            lines.append(f"{verdict:8} {len(places):7,} {reason}: {shown}")
        return lines

    @property
    def refused(self) -> list[str]:
        """One line for every kind of thing that could not be read, with its first place."""
        return [f"{places[0]}: {reason}" for (verdict, reason), places in self.notes.items() if verdict == REFUSED]

    def note(self, verdict: str, reason: str, name: str, line: int = 0) -> None:
        self.notes[verdict, reason].append(f"{name}, line {line}" if line else name)


def read(folder: Path) -> Documents:
    """Every document below `folder`; raises DataError for the first thing in it that cannot be read."""
    reading = survey(folder)
    if reading.refused:
        raise DataError(reading.refused[0])
    return reading.documents


def survey(folder: Path) -> Reading:
    """Read a folder, or one file, and say what became of it; links are not followed. Raises DataError without text."""
    if not folder.exists():
        raise DataError(f"{folder}: expected a folder of text, or one file, found nothing")
    reading = Reading(folder)
    for path in _files(reading) if folder.is_dir() else [folder]:
        name = shown(path.relative_to(folder if folder.is_dir() else folder.parent))
        try:
            kind, packed = _kind(path)
            raw = path.read_bytes()
            text, mended = decoded(unpacked(raw, packed) if packed else raw)
        except Unreadable as error:
            reading.note(REFUSED, str(error), name, error.line)
            continue
        except OSError as error:
            reading.note(REFUSED, error.strerror or str(error), name)
            continue
        if mended:
            reading.note(MENDED, mended, name)
        reading.files += 1
        found = _lines(reading, name, text) if kind in JSONL else [(name, text)]
        for place, document in found:
            if document.strip():
                while place in reading.documents:  # two names that look the same once they are printed
                    place += "'"
                reading.documents[place] = document
            else:
                reading.note(SKIPPED, "without text", place)
    _leave_out_repeats(reading)
    _cut(reading)
    _leave_out_repeats(reading)  # of the pieces
    if not reading.documents and not reading.refused:
        kinds = ", ".join(sorted(TEXT | JSONL))
        raise DataError(f"{folder}: expected files {kinds}, also compressed, found none with text")
    return reading


def shown(path: Path) -> str:
    """A path whose name may be no UTF-8, as text that can be printed and stored."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _files(reading: Reading) -> Iterator[Path]:
    """Every file whose name says that it is text, in the order of their names; the others are noted."""

    def failed(error: OSError) -> None:
        reading.note(REFUSED, error.strerror or str(error), shown(Path(error.filename)))

    for place, folders, names in os.walk(reading.folder, onerror=failed):
        for name in [name for name in folders if name.startswith(".") or (Path(place) / name).is_symlink()]:
            folders.remove(name)
            why = "hidden folder" if name.startswith(".") else "link"
            reading.note(SKIPPED, why, shown((Path(place) / name).relative_to(reading.folder)))
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            if why := _no_text(path):
                reading.note(SKIPPED, why, shown(path.relative_to(reading.folder)))
            else:
                yield path


def _no_text(path: Path) -> str:
    """Why a file is left alone, by its name and kind; empty for one that is read."""
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        return "link" if stat.S_ISLNK(mode) else "neither file nor folder"
    if path.name.startswith("."):
        return "hidden file"
    return (
        "" if _kind(path)[0] in TEXT | JSONL else f"{path.suffix.lower() or 'no suffix'}, no kind of text that is read"
    )


def _kind(path: Path) -> tuple[str, str]:
    """What a file's name says, in any case: the kind of text, and how it is packed (empty: it is not)."""
    last = path.suffix.lower()
    return (path.with_suffix("").suffix.lower(), last) if last in PACKED else (last, "")


def _lines(reading: Reading, name: str, text: str) -> Iterator[tuple[str, str]]:
    """The texts of a JSONL file; a line that holds none is noted and left out."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield f"{name}:{number}", _text(line)
        except Unreadable as error:
            reading.note(REFUSED, str(error), name, number)


def _text(line: str) -> str:
    expected = 'expected {"text": "…"}'
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unreadable(
            f"{expected}, found no JSON ({str(error).partition(':')[0] or type(error).__name__})"
        ) from error
    if not isinstance(value, dict):
        raise Unreadable(f"{expected}, found {KINDS.get(type(value), 'a string')}")
    if "text" not in value:
        raise Unreadable(f"{expected}, found an object without text")
    if not isinstance(value["text"], str):
        raise Unreadable(f"{expected}, found a text that is {KINDS[type(value['text'])]}")
    try:
        value["text"].encode()
    except UnicodeEncodeError as error:
        raise Unreadable("half a surrogate pair, which no encoding of text can hold") from error
    return value["text"].replace("\r\n", "\n")


def _cut(reading: Reading) -> None:
    """Documents too large to be dealt to a split, in pieces that end with a paragraph, a line or a word."""
    total = sum(map(len, reading.documents.values()))
    for name, text in list(reading.documents.items()):
        if len(text) > max(LARGEST * total, LEAST_PIECE):
            del reading.documents[name]
            found = list(pieces(text, max(int(PIECE * total), LEAST_PIECE)))
            reading.documents |= {f"{name}#{number}": piece for number, piece in enumerate(found, start=1)}
            reading.note(MENDED, f"larger than {LARGEST:.0%} of all text, cut into pieces", f"{name} ({len(found)})")


def pieces(text: str, size: int) -> Iterator[str]:
    """A text in pieces of at most `size` characters and, where there is a place to cut, at least half of it."""
    start = 0
    while start < len(text):
        end = start + size
        if end < len(text):
            ends = (text.rfind(mark, start + size // 2, end) + len(mark) for mark in ("\n\n", "\n", " "))
            end = next((found for found in ends if found > start + size // 2), end)
        if text[start:end].strip():
            yield text[start:end]
        start = end


def _leave_out_repeats(reading: Reading) -> None:
    """The first of all documents that read the same: another form of its characters or spaces makes no other text."""
    known: dict[str, str] = {}
    for name, text in list(reading.documents.items()):
        said = " ".join(unicodedata.normalize("NFKC", text).split())
        if said in known:
            del reading.documents[name]
            reading.repeats += 1
            reading.note(SKIPPED, "repeats another document", f"{name} ({known[said]})")
        known.setdefault(said, name)

"""Read documents from a folder of text and report what became of every file: taken, fixed, skipped or refused.

One document per file, or one per line of JSONL, compressed or not. A file that is not text in UTF-8 (or in UTF-16 or
UTF-32 with a byte order mark) is refused with its location instead of guessing its encoding; duplicate documents are
dropped, so that none ends up in two splits; a document that would fill a split alone is cut into pieces.
"""

import json
import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import DataError
from data.build import Documents
from data.text_files import DECOMPRESSORS, Unreadable, decode, decompress

TEXT = {".txt", ".md", ".rst"}
JSONL = {".jsonl", ".ndjson"}
JSON_TYPES = {
    type(None): "null",
    bool: "a truth value",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}
TAKEN, FIXED, SKIPPED, REFUSED = "taken", "fixed", "skipped", "refused"
LARGE_SHARE, PIECE_SHARE = 0.1, 0.01  # of all text: a document above the first is cut into pieces of the second
MIN_PIECE = 1000  # characters
EXAMPLES_SHOWN = 3


@dataclass
class Reading:
    """All documents of a folder, each under a unique name, and notes: (verdict, reason) -> locations."""

    folder: Path
    documents: Documents = field(default_factory=dict)
    notes: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    files: int = 0
    duplicates: int = 0

    def table(self) -> list[str]:
        """Return one line per kind of event, the documents first."""
        lines = [f"{TAKEN:8} {len(self.documents):7,} documents of {self.files:,} files"]
        for verdict, reason in sorted(self.notes, key=lambda key: (FIXED, SKIPPED, REFUSED).index(key[0])):
            locations = self.notes[verdict, reason]
            examples = ", ".join(locations[:EXAMPLES_SHOWN]) + (", …" if len(locations) > EXAMPLES_SHOWN else "")
            lines.append(f"{verdict:8} {len(locations):7,} {reason}: {examples}")
        return lines

    @property
    def refused(self) -> list[str]:
        """One line per reason for which something could not be read, with its first location."""
        return [
            f"{locations[0]}: {reason}" for (verdict, reason), locations in self.notes.items() if verdict == REFUSED
        ]

    def note(self, verdict: str, reason: str, name: str, line: int = 0) -> None:
        self.notes[verdict, reason].append(f"{name}, line {line}" if line else name)


def read(folder: Path) -> Documents:
    """Read every document below `folder`; raise DataError for the first thing that cannot be read."""
    reading = survey(folder)
    if reading.refused:
        raise DataError(reading.refused[0])
    return reading.documents


def survey(folder: Path) -> Reading:
    """Read a folder, or one file, and note what became of everything in it; symbolic links are not followed.

    Raises:
        DataError: There is no such folder, or no file with text in it.
    """
    if not folder.exists():
        raise DataError(f"{folder}: expected a folder of text, or one file, found nothing")
    reading = Reading(folder)
    for path in _files(reading) if folder.is_dir() else [folder]:
        _read_file(reading, path, printable(path.relative_to(folder if folder.is_dir() else folder.parent)))
    _drop_duplicates(reading)
    _cut_large_documents(reading)
    _drop_duplicates(reading)  # among the pieces
    if not reading.documents and not reading.refused:
        suffixes = ", ".join(sorted(TEXT | JSONL))
        raise DataError(f"{folder}: expected files {suffixes}, also compressed, found none with text")
    return reading


def printable(path: Path) -> str:
    """Return a path, whose name may not be UTF-8, as text that can be printed and stored."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _read_file(reading: Reading, path: Path, name: str) -> None:
    """Add the documents of one file, or a note about why it cannot be read."""
    try:
        kind, compression = _kind(path)
        raw = path.read_bytes()
        text, fix = decode(decompress(raw, compression) if compression else raw)
    except Unreadable as error:
        reading.note(REFUSED, str(error), name, error.line)
        return
    except OSError as error:
        reading.note(REFUSED, error.strerror or str(error), name)
        return
    if fix:
        reading.note(FIXED, fix, name)
    reading.files += 1
    for title, document in _lines(reading, name, text) if kind in JSONL else [(name, text)]:
        if document.strip():
            while title in reading.documents:  # two names that look the same once they are printed
                title += "'"
            reading.documents[title] = document
        else:
            reading.note(SKIPPED, "without text", title)


def _files(reading: Reading) -> Iterator[Path]:
    """Yield every file whose name says that it is text, in the order of their names; note all others."""

    def failed(error: OSError) -> None:
        reading.note(REFUSED, error.strerror or str(error), printable(Path(error.filename)))

    for parent, folders, names in os.walk(reading.folder, onerror=failed):
        for name in [name for name in folders if name.startswith(".") or (Path(parent) / name).is_symlink()]:
            folders.remove(name)
            reason = "hidden folder" if name.startswith(".") else "link"
            reading.note(SKIPPED, reason, printable((Path(parent) / name).relative_to(reading.folder)))
        folders.sort()
        for name in sorted(names):
            path = Path(parent) / name
            if reason := _reason_to_skip(path):
                reading.note(SKIPPED, reason, printable(path.relative_to(reading.folder)))
            else:
                yield path


def _reason_to_skip(path: Path) -> str:
    """Return the reason to skip a file, by its name and kind; empty for one that is to be read."""
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        return "link" if stat.S_ISLNK(mode) else "neither file nor folder"
    if path.name.startswith("."):
        return "hidden file"
    if _kind(path)[0] not in TEXT | JSONL:
        return f"{path.suffix.lower() or 'no suffix'}, not a supported kind of text"
    return ""


def _kind(path: Path) -> tuple[str, str]:
    """Return a file's kind of text and its compression (empty: none), by its name in lower case."""
    last = path.suffix.lower()
    return (path.with_suffix("").suffix.lower(), last) if last in DECOMPRESSORS else (last, "")


def _lines(reading: Reading, name: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of every line of a JSONL file; note a line without a text and leave it out."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield f"{name}:{number}", _text(line)
        except Unreadable as error:
            reading.note(REFUSED, str(error), name, number)


def _text(line: str) -> str:
    """Return the text of one line of JSONL; raise Unreadable for anything but an object with a text."""
    expected = 'expected {"text": "…"}'
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = str(error).partition(":")[0] or type(error).__name__
        raise Unreadable(f"{expected}, found invalid JSON ({reason})") from error
    if not isinstance(value, dict):
        raise Unreadable(f"{expected}, found {JSON_TYPES.get(type(value), 'a string')}")
    if "text" not in value:
        raise Unreadable(f"{expected}, found an object without text")
    if not isinstance(value["text"], str):
        raise Unreadable(f"{expected}, found a text that is {JSON_TYPES[type(value['text'])]}")
    try:
        value["text"].encode()
    except UnicodeEncodeError as error:
        raise Unreadable("half a surrogate pair, which no text encoding can represent") from error
    return value["text"].replace("\r\n", "\n")


def _cut_large_documents(reading: Reading) -> None:
    """Cut documents that are too large for a split into pieces that end with a paragraph, a line or a word."""
    total = sum(map(len, reading.documents.values()))
    for name, text in list(reading.documents.items()):
        if len(text) > max(LARGE_SHARE * total, MIN_PIECE):
            del reading.documents[name]
            pieces = list(cut(text, max(int(PIECE_SHARE * total), MIN_PIECE)))
            reading.documents |= {f"{name}#{number}": piece for number, piece in enumerate(pieces, start=1)}
            reason = f"larger than {LARGE_SHARE:.0%} of all text, cut into pieces"
            reading.note(FIXED, reason, f"{name} ({len(pieces)})")


def cut(text: str, size: int) -> Iterator[str]:
    """Yield a text in pieces of at most `size` characters and, where there is a place to cut, at least half of that."""
    start = 0
    while start < len(text):
        end = start + size
        if end < len(text):
            ends = (text.rfind(mark, start + size // 2, end) + len(mark) for mark in ("\n\n", "\n", " "))
            end = next((candidate for candidate in ends if candidate > start + size // 2), end)
        if text[start:end].strip():
            yield text[start:end]
        start = end


def _drop_duplicates(reading: Reading) -> None:
    """Keep the first of all documents with the same text, up to Unicode normalization (NFKC) and white space."""
    first_names: dict[str, str] = {}
    for name, text in list(reading.documents.items()):
        normalized = " ".join(unicodedata.normalize("NFKC", text).split())
        if normalized in first_names:
            del reading.documents[name]
            reading.duplicates += 1
            reading.note(SKIPPED, "duplicate of another document", f"{name} ({first_names[normalized]})")
        first_names.setdefault(normalized, name)

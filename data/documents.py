"""Documents from a folder of text: one per file, or one per line of JSONL."""

import json
from collections.abc import Iterator
from pathlib import Path

import zstandard

from data.build import Documents
from data.errors import DataError

TEXT = {".txt", ".md", ".rst"}
JSONL = (".jsonl", ".jsonl.zst")


def read(folder: Path) -> Documents:
    """Every document below `folder`, by a name of its own; links are not followed; raises DataError."""
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of text, found {'a file' if folder.exists() else 'nothing'}")
    found: Documents = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        name = path.relative_to(folder).as_posix()
        if path.name.endswith(JSONL):
            found |= {f"{name}:{number}": text for number, text in _lines(path)}
        elif path.suffix in TEXT:
            found[name] = path.read_text(encoding="utf-8", errors="replace")
    found = {name: text for name, text in found.items() if text.strip()}
    if not found:
        raise DataError(
            f"{folder}: expected files {', '.join(sorted(TEXT))} or {', '.join(JSONL)}, found none with text"
        )
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    opened = zstandard.open if path.suffix == ".zst" else open
    with opened(path, "rt", encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield number, str(json.loads(line)["text"])
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    reason = f"{type(error).__name__} {error}"
                    raise DataError(f'{path.name}, line {number}: expected {{"text": …}}, found {reason}') from error

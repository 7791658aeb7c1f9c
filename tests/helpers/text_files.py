"""Text for tests of the data package: prose, JSONL, compressed bytes, and the one error line of a command."""

import bz2
import gzip
import json
import lzma
import random
from pathlib import Path
from subprocess import CompletedProcess

import zstandard

from data.documents import survey

WORDS = [f"word{i}" for i in range(400)]
COMPRESSORS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
    "": bytes,
}


def prose(seed: int, words: int = 150) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def json_lines(*texts: str) -> str:
    """Return one line of JSONL for each text."""
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def compressed(raw: bytes, suffix: str) -> bytes:
    """Compress bytes as a file with this suffix is; an empty suffix leaves them as they are."""
    return COMPRESSORS[suffix](raw)


def notes(folder: Path, verdict: str) -> dict[str, list[str]]:
    """Return the notes of a survey with this verdict, as reason -> locations."""
    return {reason: locations for (given, reason), locations in survey(folder).notes.items() if given == verdict}


def one_line(done: "CompletedProcess[str]") -> str:
    """Return the only line on stderr of a command that must have failed."""
    assert done.returncode == 1, done.stdout
    (line,) = done.stderr.strip().splitlines()
    return line

"""The bytes of an artifact by kind of array: each kind in weights.bin packed alone.

weights.bin is foreign data: its container (magic, JSON header, raw arrays) is read without base/, within bounds, and a
file in another format is not shown. Packed alone, the streams take a little more space than together.
"""

import json
import re
import stat
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

import zstandard

MAGIC, LENGTH = b"CADD\x01", struct.Struct("<I")
ITEM_BYTES = {"int8": 1, "float16": 2, "float32": 4}
MAX_BYTES, MAX_ARRAYS = 1 << 29, 20_000
SHOWN = 14


@dataclass(frozen=True)
class Stream:
    """The arrays of one kind, from all layers."""

    name: str
    arrays: int
    raw_bytes: int
    packed_bytes: int


def read(path: Path) -> list[Stream]:
    """Return the streams, largest first; none if the file is missing or in another format."""
    try:
        info = path.lstat()
        if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_BYTES:
            return []
        parts = _parts(path.read_bytes())
    except (OSError, ValueError, KeyError, TypeError, struct.error, RecursionError):
        return []
    packer = zstandard.ZstdCompressor(level=9)
    streams = [
        Stream(name, len(arrays), sum(map(len, arrays)), len(packer.compress(b"".join(arrays))))
        for name, arrays in parts.items()
    ]
    streams.sort(key=lambda stream: -stream.packed_bytes)
    rest = streams[SHOWN:]
    if rest:
        count, raw, packed = (
            sum(getattr(stream, name) for stream in rest) for name in ("arrays", "raw_bytes", "packed_bytes")
        )
        streams = [*streams[:SHOWN], Stream(f"{len(rest)} smaller kinds", count, raw, packed)]
    return streams


def _parts(blob: bytes) -> dict[str, list[bytes]]:
    if not blob.startswith(MAGIC):
        raise ValueError("not this container")
    (length,) = LENGTH.unpack_from(blob, len(MAGIC))
    offset = len(MAGIC) + LENGTH.size + length
    listing = json.loads(blob[offset - length : offset])["arrays"]
    parts: dict[str, list[bytes]] = {}
    for name, dtype, shape in listing[:MAX_ARRAYS]:
        if not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError("invalid shape")
        size = ITEM_BYTES[dtype] * prod(shape)
        if offset + size > len(blob):
            raise ValueError("arrays longer than the file")
        kind = re.sub(r"\.\d+(?=\.)", ".*", str(name))[:80]
        parts.setdefault(kind, []).append(blob[offset : offset + size])
        offset += size
    return parts

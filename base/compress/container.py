"""The format of weights.bin and checkpoint.bin: named arrays that load without running code.

Magic, the length of a JSON header, the header, and the arrays as raw little-endian bytes.
"""

import json
import struct
from collections.abc import Mapping

import numpy as np

from base.compress.errors import FormatError

MAGIC = b"CADD\x01"
LENGTH = struct.Struct("<I")
DTYPES = {"int8": "i1", "float16": "<f2", "float32": "<f4"}
MAX_HEADER_BYTES = 1 << 22
MAX_ARRAY_BYTES = 1 << 30  # of all arrays together, and of any side: an empty array has other sides

Arrays = dict[str, np.ndarray]
Listing = list[tuple[str, str, tuple[int, ...]]]  # (name, dtype, shape)


def dump(meta: Mapping, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Serialize arrays in a canonical order, by dtype and then by name: equal content gives equal bytes."""
    order = listing(arrays)
    described = [[name, dtype, list(shape)] for name, dtype, shape in order]
    header = json.dumps({"meta": meta, "arrays": described}, sort_keys=True, separators=(",", ":")).encode()
    parts = (np.ascontiguousarray(arrays[name], DTYPES[dtype]).tobytes() for name, dtype, _ in order)
    return b"".join([MAGIC, LENGTH.pack(len(header)), header, *parts])


def listing(arrays: Mapping[str, np.ndarray]) -> Listing:
    """The arrays in their canonical order, by dtype and then by name."""
    order = sorted(arrays, key=lambda name: (arrays[name].dtype.name, name))
    return [(name, arrays[name].dtype.name, arrays[name].shape) for name in order]


def load(blob: bytes) -> tuple[dict, Arrays]:
    """The inverse of `dump`: read-only views into `blob`; raises FormatError on anything else."""
    if blob[: len(MAGIC)] != MAGIC:
        raise FormatError(f"expected a container that starts with {MAGIC!r}, got {blob[: len(MAGIC)]!r}")
    start = len(MAGIC) + LENGTH.size
    if len(blob) < start:
        raise FormatError(f"expected at least {start} bytes, got {len(blob)}")
    (length,) = LENGTH.unpack_from(blob, len(MAGIC))
    header = parse_header(blob[start : start + length], length)
    entries = check_listing(header.get("arrays"))
    offset, arrays = start + length, {}
    expected = offset + sum(array_bytes(dtype, shape) for _, dtype, shape in entries)
    if expected != len(blob):
        raise FormatError(f"expected {expected} bytes, got {len(blob)}")
    for name, dtype, shape in entries:
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(blob, dtype=DTYPES[dtype], count=count, offset=offset).reshape(shape)
        offset += arrays[name].nbytes
    return header["meta"], arrays


def parse_header(text: bytes, length: int) -> dict:
    """Return the JSON object of `length` bytes that a header holds; raises FormatError."""
    if length > MAX_HEADER_BYTES or len(text) != length:
        raise FormatError(f"expected a header of at most {MAX_HEADER_BYTES} bytes, got {length} of which {len(text)}")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"expected a JSON header, got {type(error).__name__}") from None
    if not isinstance(header, dict) or not isinstance(header.get("meta"), dict):
        raise FormatError("expected a header with an object 'meta'")
    return header


def check_listing(described: object, most: int = MAX_ARRAY_BYTES) -> Listing:
    """Return the (name, dtype, shape) of every array of a header; raises FormatError."""
    if not isinstance(described, list):
        raise FormatError("expected a list of arrays in the header")
    checked, names, total = [], set(), 0
    for entry in described:
        if not isinstance(entry, list) or len(entry) != 3:
            raise FormatError("expected [name, dtype, shape] for each array")
        name, dtype, shape = entry
        if not isinstance(name, str) or name in names or not isinstance(dtype, str) or dtype not in DTYPES:
            raise FormatError(f"expected a new name and one of {', '.join(DTYPES)}, got {str(entry[:2])[:80]}")
        sides = isinstance(shape, list) and len(shape) <= 4
        if not sides or not all(isinstance(side, int) and 0 <= side <= MAX_ARRAY_BYTES for side in shape):
            raise FormatError(f"expected up to four sides, got {str(shape)[:80]}")
        names.add(name)
        total += array_bytes(dtype, shape)
        if total > most:
            raise FormatError(f"expected at most {most} bytes of arrays, got {total} and more")
        checked.append((name, dtype, tuple(shape)))
    return checked


def array_bytes(dtype: str, shape: list[int] | tuple[int, ...]) -> int:
    size = np.dtype(DTYPES[dtype]).itemsize
    for side in shape:  # Python integers: no overflow
        size *= side
    return size

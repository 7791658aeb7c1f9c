"""A container of named arrays that loads without running code: magic, JSON header, raw little-endian arrays."""

import json
import struct

import numpy as np

MAGIC = b"CADD\x01"
LENGTH = struct.Struct("<I")
DTYPES = {"int8": "i1", "float16": "<f2", "float32": "<f4"}


def dump(meta: dict, arrays: dict[str, np.ndarray]) -> bytes:
    """Serialize arrays, sorted by dtype and then by name, so that similar bytes are adjacent for the entropy coder."""
    order = sorted(arrays, key=lambda name: (arrays[name].dtype.name, name))
    listing = [[name, arrays[name].dtype.name, list(arrays[name].shape)] for name in order]
    header = json.dumps({"meta": meta, "arrays": listing}, sort_keys=True, separators=(",", ":")).encode()
    return b"".join([MAGIC, LENGTH.pack(len(header)), header, *(arrays[name].tobytes() for name in order)])


def load(blob: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """The inverse of `dump`; raises ValueError on anything else."""
    if blob[: len(MAGIC)] != MAGIC:
        raise ValueError(f"expected a container that starts with {MAGIC!r}, got {blob[: len(MAGIC)]!r}")
    (length,) = LENGTH.unpack_from(blob, len(MAGIC))
    start = len(MAGIC) + LENGTH.size
    header = json.loads(blob[start : start + length])
    offset, arrays = start + length, {}
    for name, dtype, shape in header["arrays"]:
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(blob, dtype=DTYPES[dtype], count=count, offset=offset).reshape(shape)
        offset += arrays[name].nbytes
    if offset != len(blob):
        raise ValueError(f"expected {offset} bytes, got {len(blob)}")
    return header["meta"], arrays

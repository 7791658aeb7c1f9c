"""Read weights.bin and artifact.bin without base/: foreign files, within bounds, as far as they have the known format.

Harness twin of base/compress/container.py and of the header in base/compress/artifact.py; both are pinned to each other
by tests/preflight/candidate/test_weights_file.py. Streams of an artifact are not decoded here.
"""

import json
import struct
from dataclasses import dataclass
from math import prod

import brotli
import numpy as np
import numpy.typing as npt

from common.errors import CaddieError

WEIGHTS_MAGIC, ARTIFACT_MAGIC, LENGTH = b"CADD\x01", b"CADA\x02", struct.Struct("<I")
PREFIX = struct.Struct("<III")  # bytes of an artifact's header as packed and as text, and its checksum
DTYPES = {"int8": "i1", "float16": "<f2", "float32": "<f4"}
INTEGERS, SCALES = ":q", ":scale"  # suffixes of a matrix's integers and of the scales of its rows
MAX_HEADER_BYTES, MAX_ARRAYS, MAX_STREAMS = 1 << 22, 20_000, 4_096
MAX_SIDE, MAX_ONES = 1 << 30, 1 << 25  # of a shape; that may be pruned: ordering takes some forty bytes for each
FOREIGN = (ValueError, KeyError, IndexError, TypeError, OverflowError, struct.error, RecursionError, brotli.error)
Array = npt.NDArray[np.generic]


class UnknownFormatError(CaddieError):
    """A file that is not in the known format: a proposal may write another one."""


@dataclass(frozen=True)
class Stream:
    """A stream of an artifact: the names of its arrays, its codec, and its bytes in the file."""

    kind: str
    arrays: tuple[str, ...]
    codec: str
    size: int


@dataclass(frozen=True)
class ArtifactHeader:
    """What an artifact says of itself; `overhead` are the bytes outside its streams."""

    meta: dict[str, object]
    shapes: dict[str, tuple[str, tuple[int, ...]]]  # dtype and shape by name
    streams: tuple[Stream, ...]
    overhead: int


def read_weights(blob: bytes) -> tuple[bytes, dict[str, Array]]:
    """Return the header's bytes and the arrays of weights.bin, views into `blob`; raises UnknownFormatError."""
    try:
        if not blob.startswith(WEIGHTS_MAGIC):
            raise UnknownFormatError("not the known container")
        (length,) = LENGTH.unpack_from(blob, len(WEIGHTS_MAGIC))
        offset = len(WEIGHTS_MAGIC) + LENGTH.size + length
        header = blob[:offset]
        arrays: dict[str, Array] = {}
        for name, (dtype, shape) in _shapes(_json(blob[offset - length : offset], length)).items():
            count = prod(shape)
            array = np.frombuffer(blob, DTYPES[dtype], count, offset).reshape(shape)
            arrays[name] = array
            offset += array.nbytes
        if offset != len(blob):
            raise UnknownFormatError(f"expected {offset} bytes, got {len(blob)}")
    except FOREIGN as error:
        raise UnknownFormatError(f"not the known container: {type(error).__name__}") from None
    return header, arrays


def read_artifact(blob: bytes) -> ArtifactHeader:
    """Return the header of an artifact; raises UnknownFormatError."""
    start = len(ARTIFACT_MAGIC) + PREFIX.size
    try:
        if not blob.startswith(ARTIFACT_MAGIC):
            raise UnknownFormatError("not the known artifact")
        packed, length, _ = PREFIX.unpack_from(blob, len(ARTIFACT_MAGIC))
        header = _json(_decompress(blob[start : start + packed], length), length)
        shapes = _shapes(header)
        names = list(shapes)
        described = header["streams"]
        if not isinstance(described, list) or len(described) > MAX_STREAMS:
            raise UnknownFormatError("streams: expected a list")
        streams = tuple(
            Stream(str(kind)[:80], tuple(names[index] for index in indices), str(codec)[:20], int(size))
            for kind, indices, codec, _, _, size in described
        )
        if start + packed + sum(stream.size for stream in streams) != len(blob):
            raise UnknownFormatError("streams: expected that they fill the file")
        held = sorted(name for stream in streams for name in stream.arrays)
        if held != sorted(names) or any(stream.size < 0 for stream in streams):
            raise UnknownFormatError("streams: expected each array once, and sizes from 0")
        meta = header["meta"]
        if not isinstance(meta, dict):
            raise UnknownFormatError("meta: expected an object")
        return ArtifactHeader(meta, shapes, streams, start + packed)
    except FOREIGN as error:
        raise UnknownFormatError(f"not the known artifact: {type(error).__name__}") from None


def _decompress(blob: bytes, length: int) -> bytes:
    if length > MAX_HEADER_BYTES:
        raise UnknownFormatError("the header is too long")
    return bytes(brotli.Decompressor().process(blob, output_buffer_limit=MAX_HEADER_BYTES))


def _json(text: bytes, length: int) -> dict[str, object]:
    if len(text) != length or length > MAX_HEADER_BYTES:
        raise UnknownFormatError("the header is cut off")
    header = json.loads(text)
    if not isinstance(header, dict):
        raise UnknownFormatError("the header is no object")
    return header


def _shapes(header: dict[str, object]) -> dict[str, tuple[str, tuple[int, ...]]]:
    listing = header["arrays"]
    if not isinstance(listing, list) or len(listing) > MAX_ARRAYS:
        raise UnknownFormatError("arrays: expected a list")
    shapes = {}
    for name, dtype, shape in listing:
        if (
            dtype not in DTYPES
            or not all(type(side) is int and 0 <= side < MAX_SIDE for side in shape)
            or name in shapes
        ):
            raise UnknownFormatError("arrays: expected new names, known types and shapes")
        shapes[str(name)] = (dtype, tuple(shape))
    return shapes


def pruning_order(arrays: dict[str, Array]) -> npt.NDArray[np.int64]:
    """Positions of all +1 and -1 among the integers by name, those of the smallest scale first (n,).

    Harness twin of base/compress/pruning.py.
    """
    positions, costs, start = [], [], 0
    for name in sorted(name for name in arrays if name.endswith(INTEGERS)):
        integers, scales = arrays[name], arrays.get(name.removesuffix(INTEGERS) + SCALES)
        if integers.dtype != np.int8 or integers.ndim != 2:
            raise UnknownFormatError("integers that are no matrix of bytes")
        if scales is None or scales.dtype != np.float16 or scales.shape != integers.shape[:1]:
            raise UnknownFormatError("integers without a scale for each row")
        ones = np.flatnonzero((integers.ravel() == 1) | (integers.ravel() == -1))
        positions.append(start + ones)
        costs.append(scales.ravel().view(np.uint16)[ones // max(integers.shape[-1], 1)])
        start += integers.size
    if not positions:
        return np.empty(0, np.int64)
    if (total := sum(map(len, positions))) > MAX_ONES:
        raise UnknownFormatError(f"{total:,} integers of 1, expected at most {MAX_ONES:,}")
    return np.concatenate(positions)[np.argsort(np.concatenate(costs), kind="stable")]


def pruned_count(before: bytes, after: bytes) -> int | None:
    """Return how many of the smallest integers packing set to zero; None if it changed anything else.

    Both are weights.bin. Only how many is packing's choice: which follows from the weights, so packing learns nothing.
    """
    if before == after:
        return 0
    if len(before) != len(after):
        return None
    try:
        (header, arrays), (new_header, new_arrays) = read_weights(before), read_weights(after)
        order = pruning_order(arrays)
    except UnknownFormatError:
        return None
    integers = sorted(name for name in arrays if name.endswith(INTEGERS))
    if header != new_header or any(
        arrays[name].tobytes() != new_arrays[name].tobytes() for name in arrays.keys() - set(integers)
    ):
        return None
    flat, new_flat = (np.concatenate([each[name].ravel() for name in integers]) for each in (arrays, new_arrays))
    changed = np.flatnonzero(flat != new_flat)
    if new_flat[changed].any() or not np.array_equal(changed, np.sort(order[: len(changed)])):
        return None
    return len(changed)

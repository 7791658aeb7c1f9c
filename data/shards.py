"""The challenge's format of token shards: a header of 256 little-endian int32, then uint16 tokens."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.errors import DataError

Tokens = npt.NDArray[np.uint16]

MAGIC = 20240520
VERSION = 1
HEADER_INTS = 256
HEADER_BYTES = 4 * HEADER_INTS


def write_shard(path: Path, tokens: npt.ArrayLike) -> None:
    """Write one shard; raise DataError for tokens that do not fit uint16."""
    values = np.asarray(tokens)
    if values.size and (values.min() < 0 or values.max() > 0xFFFF):
        raise DataError(f"{path}: token ids span {values.min()}..{values.max()}, expected 0..65535")
    header = np.zeros(HEADER_INTS, dtype="<i4")
    header[:3] = MAGIC, VERSION, values.size
    with path.open("wb") as file:
        file.write(header.tobytes())
        file.write(values.astype("<u2").tobytes())


def read_shard(path: Path, vocab_size: int | None = None) -> Tokens:
    """Memory-map one shard read-only after checking its header and size.

    Args:
        path: The shard.
        vocab_size: Check that all token ids are below it; without it they are not checked.

    Raises:
        DataError: The shard is damaged or of another vocabulary; names the file, expected and found.
    """
    size = path.stat().st_size if path.is_file() else -1
    if size < HEADER_BYTES:
        raise DataError(
            f"{path}: expected a header of {HEADER_BYTES} bytes, found {max(size, 0)} bytes; build it again"
        )
    header = np.fromfile(path, dtype="<i4", count=HEADER_INTS)
    for name, actual, expected in (("magic", header[0], MAGIC), ("version", header[1], VERSION)):
        if actual != expected:
            raise DataError(f"{path}: expected {name} {expected}, found {actual}; not a token shard of this format")
    count = int(header[2])
    if size != HEADER_BYTES + 2 * count:
        raise DataError(
            f"{path}: expected {HEADER_BYTES + 2 * count} bytes for {count} tokens, found {size}; truncated?"
        )
    tokens: Tokens = np.memmap(path, dtype="<u2", mode="r", offset=HEADER_BYTES, shape=(count,))
    if vocab_size is not None and count and int(tokens.max()) >= vocab_size:
        raise DataError(f"{path}: expected token ids below {vocab_size}, found {int(tokens.max())}; wrong tokenizer?")
    return tokens


def read_shards(paths: Iterable[Path], vocab_size: int | None = None) -> Tokens:
    """Read all shards of one split as one stream, in the order of their names."""
    return np.concatenate([read_shard(path, vocab_size) for path in sorted(paths)])

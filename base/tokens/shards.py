"""Read the challenge's token shards (locked; data/shards.py is its trusted counterpart)."""

from pathlib import Path

import numpy as np

MAGIC, VERSION, HEADER_INTS = 20240520, 1, 256


def read(folder: Path, pattern: str) -> np.ndarray:
    """Return all shards of `folder` that match, in order of their names, as one uint16 stream."""
    return np.concatenate(mapped(folder, pattern))


def mapped(folder: Path, pattern: str) -> list[np.ndarray]:
    """The same as one memory-mapped stream per shard: 10 B tokens are 20 GB, and each of eight ranks reads them."""
    paths = sorted(Path(folder).glob(pattern))
    if not paths:
        raise FileNotFoundError(f"{folder}: expected shards {pattern}, found none; set DATA_PATH")
    return [read_one(path) for path in paths]


def read_one(path: Path) -> np.ndarray:
    header = np.fromfile(path, dtype="<i4", count=HEADER_INTS)
    if len(header) < HEADER_INTS or header[0] != MAGIC or header[1] != VERSION:
        raise ValueError(f"{path}: expected magic {MAGIC} version {VERSION}, got {header[:2].tolist()}")
    size = path.stat().st_size - 4 * HEADER_INTS
    if size != 2 * header[2]:
        raise ValueError(f"{path}: expected {header[2]} tokens, got {size / 2:g}")
    return np.memmap(path, dtype="<u2", mode="r", offset=4 * HEADER_INTS) if size else np.zeros(0, dtype=np.uint16)

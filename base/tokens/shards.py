"""Read the challenge's token shards (locked; data/shards.py is the trusted twin)."""

from pathlib import Path

import numpy as np

MAGIC, VERSION, HEADER_INTS = 20240520, 1, 256


def read(folder: Path, pattern: str) -> np.ndarray:
    """All shards of `folder` that match, in the order of their names, as one uint16 stream."""
    paths = sorted(Path(folder).glob(pattern))
    if not paths:
        raise FileNotFoundError(f"{folder}: expected shards {pattern}, found none; set DATA_PATH")
    return np.concatenate([read_one(path) for path in paths])


def read_one(path: Path) -> np.ndarray:
    header = np.fromfile(path, dtype="<i4", count=HEADER_INTS)
    if len(header) < HEADER_INTS or header[0] != MAGIC or header[1] != VERSION:
        raise ValueError(f"{path}: expected magic {MAGIC} version {VERSION}, got {header[:2].tolist()}")
    tokens = np.fromfile(path, dtype="<u2", offset=4 * HEADER_INTS)
    if len(tokens) != header[2]:
        raise ValueError(f"{path}: expected {header[2]} tokens, got {len(tokens)}")
    return tokens

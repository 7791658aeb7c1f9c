"""What the bytes of an artifact are: of each tensor its bits, what was clipped, its error, and its share of the file.

Artifact and weights are foreign data, read without base/ and within bounds (preflight/candidate/weights_file.py). Bits
and errors are what the program states of itself; clipped shares and bytes are counted here.
"""

import stat
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from common.errors import CaddieError
from preflight.candidate.weights_file import (
    INTEGERS,
    Array,
    ArtifactHeader,
    UnknownFormatError,
    read_artifact,
    read_weights,
)

MAX_BYTES = 1 << 29


@dataclass(frozen=True)
class Tensor:
    """One array of the artifact, or its header; None where a number does not apply or is not known."""

    name: str
    values: int
    codec: str
    size: int  # bytes
    bits: int | None = None
    clipped: float | None = None  # share of its integers at either end of the grid
    error: float | None = None  # squared error of the layer's outputs over their squares, as the program states it

    @property
    def bits_per_value(self) -> float:
        """Bits that a value takes in the file."""
        return 8 * self.size / self.values if self.values else 0.0


def read(artifact: Path, weights: Path) -> list[Tensor]:
    """Return the tensors, largest first, and the header; their sizes sum to the file's.

    Arrays that share a stream share its bytes in proportion to the entropy of their own values.

    Raises:
        CaddieError: A file is gone.
        UnknownFormatError: The program writes another format.
    """
    header, arrays = read_artifact(_content(artifact)), read_weights(_content(weights))[1]
    if {name: (array.dtype.name, array.shape) for name, array in arrays.items()} != header.shapes:
        raise UnknownFormatError(f"{artifact}: its arrays are not those of {weights.name}")
    found = [Tensor("header", 0, "brotli", header.overhead)]
    for stream in header.streams:
        sizes = divided(stream.size, [entropy_bytes(arrays[name]) for name in stream.arrays])
        found += [
            _tensor(name, arrays[name], stream.codec, size, header)
            for name, size in zip(stream.arrays, sizes, strict=True)
        ]
    return sorted(found, key=lambda tensor: (-tensor.size, tensor.name))


def _content(path: Path) -> bytes:
    try:
        info = path.lstat()
    except OSError:
        raise CaddieError(f"{path} is gone; measure the trial again to have it: `rerun`") from None
    if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_BYTES:
        raise UnknownFormatError(f"{path}: expected a plain file of at most {MAX_BYTES:,} bytes")
    return path.read_bytes()


def _tensor(name: str, array: Array, codec: str, size: int, header: ArtifactHeader) -> Tensor:
    matrices = header.meta.get("matrices")
    stated = matrices.get(name.removesuffix(INTEGERS)) if isinstance(matrices, dict) else None
    bits = stated[0] if isinstance(stated, list) and len(stated) == 2 else None
    if not name.endswith(INTEGERS) or type(bits) is not int or not 2 <= bits <= 8:
        return Tensor(name, array.size, codec, size)
    error = stated[1] if isinstance(stated, list) else None
    error = error if isinstance(error, float) and isfinite(error) else None
    at_end = np.abs(array.astype(np.int16)) >= 2 ** (bits - 1) - 1
    return Tensor(name, array.size, codec, size, bits, float(at_end.mean()) if array.size else 0.0, error)


def entropy_bytes(array: Array) -> float:
    """The bytes of an array's items by their own frequencies."""
    items = array.ravel().view({1: np.uint8, 2: np.uint16, 4: np.uint32}[array.itemsize])
    counts = np.unique(items, return_counts=True)[1].astype(np.float64)
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8) if array.size else 0.0


def divided(total: int, shares: list[float]) -> list[int]:
    """Divide a whole number in proportion to shares, so that the parts sum to it."""
    whole = sum(shares)
    bounds = np.round(np.cumsum(shares) / whole * total) if whole else np.full(len(shares), total)
    return [int(part) for part in np.diff(bounds, prepend=0)]

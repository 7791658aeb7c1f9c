"""An adaptive context-mixing arithmetic coder for matrices of small integers, a stream of matrices at a time.

Each integer is a few binary decisions: how often 2^shift fits into its magnitude, the low bits, the sign. Every context
below keeps its own chance of each decision; the chances are mixed by weights that learn as they go. What helps are the
sizes of what came before: in this row, in this column (also of the layers before), right beside and above. On weights
this takes the place of ZPAQ in the record's stack (#1797), without its binary (dev/benchmarks/compression.md).
"""

from functools import cache

import numpy as np

from base import native
from base.compress import mixing_twin
from base.compress.errors import FormatError

# What a context may look at; both coders compute these in this order.
FEATURES = (
    "nothing",
    "row_energy",  # mean magnitude of the row so far, in 48 levels; the next three alike
    "column_energy",  # decaying mean magnitude of the column, through the layers
    "energy",  # their product: a row is as wide as a column is where both are
    "recent_energy",  # of the last few in the row, times the column's
    "left",  # magnitudes, in 16 levels
    "above",
    "layer_before",  # at the same place
    "scale",  # the quantization step of the row, or of the column where rows are columns, in 48 levels
    "column",
    "row_energy_coarse",  # in 12 levels
    "left_sign",
    "above_sign",
)
CONTEXTS = (
    ("nothing", "nothing"),
    ("row_energy", "column_energy"),
    ("energy", "nothing"),
    ("recent_energy", "nothing"),
    ("left", "above"),
    ("column", "row_energy_coarse"),
    ("layer_before", "energy"),
    ("column_energy", "above"),
    ("column_energy", "nothing"),
    ("column", "above_sign"),
    ("scale", "column_energy"),
)
MAX_COLUMNS = 8192  # some contexts have a table per column
TWIN_VALUES = 50_000  # the Python twin codes about as many in ten seconds; without a compiler, use it for no more


def available(values: int) -> bool:
    """Return True if so many values can be coded here in reasonable time."""
    return native.library() is not None or values <= TWIN_VALUES


def encode(values: np.ndarray, scales: np.ndarray | None = None, by_column: bool = False) -> bytes:
    """int8 (count, rows, columns), levels of the scales of rows (or columns) uint8 or None -> bytes."""
    shift = best_shift(values)
    buffer = np.empty(2 * values.size + 64, dtype=np.uint8)  # an integer takes at most 128 decisions that cost little
    written = _code(False, np.ascontiguousarray(values), scales, by_column, shift, buffer)
    if written < 0:
        raise FormatError("the coder needs more than two bytes per integer")
    return bytes([shift]) + buffer[:written].tobytes()


def decode(
    blob: bytes, shape: tuple[int, int, int], scales: np.ndarray | None = None, by_column: bool = False
) -> np.ndarray:
    """The inverse of `encode`; raises FormatError."""
    if not blob or blob[0] > 5 or shape[2] > MAX_COLUMNS:
        raise FormatError(f"expected a shift of at most 5 and {MAX_COLUMNS} columns, got {blob[:1]!r} and {shape[2]}")
    values = np.empty(shape, dtype=np.int8)
    if native.library() is None and values.size > 100 * TWIN_VALUES:
        raise FormatError(f"{values.size:,} integers need a C compiler (cc, gcc or clang) to be decoded here")
    buffer = np.frombuffer(blob, dtype=np.uint8, offset=1)
    read = _code(True, values, scales, by_column, blob[0], np.ascontiguousarray(buffer))
    if read != buffer.size:
        raise FormatError(f"expected a stream of {buffer.size} bytes, got one of {'more' if read < 0 else read}")
    return values


def _code(
    decode: bool, values: np.ndarray, scales: np.ndarray | None, by_column: bool, shift: int, buffer: np.ndarray
) -> int:
    coder = mixing_twin.mix_code if native.library() is None else native.mix_code
    contexts = np.array([[FEATURES.index(name) for name in pair] for pair in CONTEXTS], dtype=np.int32)
    levels = None if scales is None else np.ascontiguousarray(scales, dtype=np.uint8)
    return coder(decode, native.Coding(values, levels, by_column, shift, contexts, tables(), buffer))


def best_shift(values: np.ndarray) -> int:
    """Return the number of low bits that are coded as bits: about log2 of the mean magnitude."""
    total = int(np.abs(values.astype(np.int16)).sum(dtype=np.int64))
    return min(max((total // max(values.size, 1)).bit_length() - 1, 0), 5)


def scale_levels(scales: np.ndarray) -> np.ndarray:
    """fp16 scales -> levels 0 to 47 uint8: eighths of an octave above the smallest, from the bits alone."""
    eighths = scales.view(np.uint16).astype(np.int32) >> 7
    return np.clip(eighths - (eighths.min() if eighths.size else 0), 0, 47).astype(np.uint8)


@cache
def tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The logistic function and its inverse in fixed point, and reciprocals of counts, by exact integer arithmetic.

    Returns:
        stretch: (4096,) int32: 256 ln(p / (1 - p)) of p = (i + 1/2) / 4096.
        squash: (4096,) int32: 65536 / (1 + exp(-(i - 2048) / 256)).
        reciprocal: (1024,) int32: 65536 / (n + 3/2), the rate after n observations.
    """
    one, term, step = 1 << 60, 1 << 60, 0
    for order in range(1, 20):  # exp(1/256) by its series
        step += term
        term //= 256 * order
    power, squash = one, np.empty(4096, dtype=np.int32)
    for i in range(2048):
        squash[2048 + i] = min(65536 * power // (power + one), 65535)
        power = power * step >> 60
    squash[1:2048] = 65536 - squash[4095:2048:-1]
    squash[0] = squash[1]
    stretch = np.clip(np.searchsorted(squash, 16 * np.arange(4096) + 8) - 2048, -2047, 2047).astype(np.int32)
    reciprocal = np.array([131072 // (2 * n + 3) for n in range(1024)], dtype=np.int32)
    return stretch, squash, reciprocal

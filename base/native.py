"""C code of this program (locked): the coder of integer streams, and counts of n-grams; compiled when first used.

The only module that compiles or loads machine code: the sources in c_source, fixed flags. Where
there is no C compiler, callers use twins in Python, slowly: `base/compress/mixing_twin.py` writes the same bytes,
`base/evaluate/experts/counts_twin.py` counts the same.
"""

import ctypes
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from base.c_source.mixing import SOURCE
from base.c_source.ngrams import SOURCE as NGRAM_SOURCE

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O2", "-std=c99", "-fwrapv", "-shared", "-fPIC")
COMPILE_SECONDS = 120.0
MAX_CONTEXTS, MAX_SHIFT, MAX_CELLS = 16, 5, 1 << 19
CONTEXT = np.dtype([("end", "<u4"), ("total", "<u4"), ("best_count", "<u4"), ("best", "<u2"), ("mark", "<u2")])
GRAM = np.dtype([("low", "<u8"), ("high", "<u8"), ("total", "<u4"), ("types", "<u4")])
FOLLOWER = np.dtype([("key", "<u8"), ("count", "<u4"), ("unused", "<u4")])
LONGEST_CONTEXT, MAX_CONTEXT_SLOTS, MAX_ORDERS = 31, 1 << 27, 8
SMOOTHINGS = ("dirichlet", "witten_bell", "kneser_ney")
LEVELS = (1, 48, 48, 48, 48, 16, 16, 16, 48, 0, 12, 3, 3)  # of each feature, as SIZES below; 0 = one for each column

_LOCK = threading.Lock()  # streams are coded in threads, and one of them compiles


def library() -> ctypes.CDLL | None:
    """Return the C code, compiled when it is first asked for; None where that is not possible."""
    with _LOCK:
        return _library()


@cache
def _library() -> ctypes.CDLL | None:
    """Compile and load the C source; None, with a line on stderr, if it cannot be."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        print(f"native: no C compiler ({', '.join(COMPILERS)}): Python runs instead, slowly", file=sys.stderr)
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "native.c"), Path(folder, "native.so")
        source.write_text(SOURCE + NGRAM_SOURCE, encoding="ascii")
        command = [compiler, *FLAGS, "-o", str(output), str(source)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_SECONDS)
            loaded = ctypes.CDLL(str(output))
        except (OSError, subprocess.SubprocessError) as error:
            print(f"native: {compiler} failed ({error}): Python runs instead, slowly", file=sys.stderr)
            return None
    loaded.mix_code.restype = ctypes.c_int64
    loaded.hints_follow.restype = loaded.ngrams_follow.restype = None
    return loaded


class Coding(NamedTuple):
    """What both coders, this and its twin, are told: a stream of matrices, how to read it, and its bytes."""

    values: np.ndarray  # int8 (count, rows, columns): encoded from, or decoded into
    scales: np.ndarray | None  # uint8 levels of the rows' scales, or of the columns'
    by_column: bool
    shift: int
    contexts: np.ndarray  # int32 (n, 2): pairs of features
    tables: tuple[np.ndarray, np.ndarray, np.ndarray]  # mixing.tables()
    buffer: np.ndarray  # uint8: encoded into, or decoded from


def mix_code(decode: bool, coding: Coding) -> int:
    """Encode `values` into `buffer`, or decode `buffer` into them; see mixing.py.

    Returns the number of bytes written or read, -1 if the buffer ends too early. The GIL is released meanwhile.
    """
    loaded = required()
    check_arguments(decode, coding)
    values, scales, by_column, shift, contexts, tables, buffer = coding
    count, rows, columns = map(ctypes.c_int64, values.shape)
    pointers = [table.ctypes.data_as(ctypes.c_void_p) for table in tables]
    return loaded.mix_code(
        ctypes.c_int32(bool(decode)), values.ctypes.data_as(ctypes.c_void_p), count, rows, columns,
        None if scales is None else scales.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int32(bool(by_column)), ctypes.c_int32(shift),
        contexts.ctypes.data_as(ctypes.c_void_p), ctypes.c_int32(len(contexts)), *pointers,
        buffer.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(buffer.size),
    )  # fmt: skip


def check_arguments(decode: bool, coding: Coding) -> None:
    """Raise ValueError for anything that the C code would read or write out of bounds: its callers can be changed."""
    values, scales, by_column, shift, contexts, tables, buffer = coding
    typed = ((values, np.int8), (contexts, np.int32), (buffer, np.uint8), *((table, np.int32) for table in tables))
    plain = all(
        type(array) is np.ndarray and array.dtype == dtype and array.flags.c_contiguous for array, dtype in typed
    )
    writable = (values if decode else buffer).flags.writeable
    if not plain or not writable or values.ndim != 3 or buffer.ndim != 1 or not 0 <= shift <= MAX_SHIFT:
        raise ValueError(f"expected int8 (count, rows, columns), bytes and a shift of at most {MAX_SHIFT}")
    known = contexts.ndim == 2 and contexts.shape[1] == 2 and 0 < len(contexts) <= MAX_CONTEXTS
    if not known or contexts.min() < 0 or contexts.max() >= len(LEVELS):
        raise ValueError(f"expected at most {MAX_CONTEXTS} pairs of features from 0 to {len(LEVELS) - 1}")
    widths = [level or values.shape[2] for level in LEVELS]
    if max(widths[a] * widths[b] for a, b in contexts.tolist()) > MAX_CELLS:
        raise ValueError(f"expected contexts of at most {MAX_CELLS} values, for {values.shape[2]} columns")
    expected = values.shape[0] * values.shape[2 if by_column else 1]
    if scales is not None and (
        type(scales) is not np.ndarray
        or scales.dtype != np.uint8
        or not scales.flags.c_contiguous
        or scales.size != expected
        or (scales > 47).any()
    ):
        raise ValueError(f"expected {expected} levels of scales from 0 to 47")
    limits = ((4096, -2047, 2047), (4096, 1, 65535), (1024, 1, 65535))
    for table, (size, low, high) in zip(tables, limits, strict=True):
        if table.shape != (size,) or table.min() < low or table.max() > high:
            raise ValueError(f"expected a table of {size} integers from {low} to {high}")


class HintTables(NamedTuple):
    """What followed contexts: open addressing, sizes that are powers of two, seven eighths full at most."""

    contexts: np.ndarray  # CONTEXT
    pairs: np.ndarray  # uint64: counts of all but a context's best
    used: np.ndarray  # int64 (2,)


def hints_follow(
    tables: HintTables, ring: np.ndarray, ends: np.ndarray, lengths: np.ndarray, nexts: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hints of contexts, each looked up before what followed it is counted; see counts.HintCounts.follow."""
    count = len(ends)
    expected = (
        *((array, dtype, None) for array, dtype in ((tables.contexts, CONTEXT), (tables.pairs, np.uint64))),
        (tables.used, np.int64, 2), (ring, np.uint16, None), (ends, np.int64, count), (lengths, np.uint8, count),
        *(() if nexts is None else ((nexts, np.uint16, count),)),
    )  # fmt: skip
    check_arrays(expected)
    check_tables(tables)
    for array in (tables.contexts, tables.pairs, ring):
        check_slots(array, MAX_CONTEXT_SLOTS)
    if count and lengths.max() > LONGEST_CONTEXT:
        raise ValueError(f"expected contexts of at most {LONGEST_CONTEXT} symbols, got {lengths.max()}")
    hints, best_counts, totals = np.empty(count, np.int32), np.empty(count, np.uint32), np.empty(count, np.uint32)
    required().hints_follow(
        pointer(tables.contexts), ctypes.c_int64(len(tables.contexts)), pointer(tables.pairs),
        ctypes.c_int64(len(tables.pairs)), pointer(tables.used), pointer(ring), ctypes.c_int64(len(ring)),
        pointer(ends), pointer(lengths), None if nexts is None else pointer(nexts), ctypes.c_int64(count),
        pointer(hints), pointer(best_counts), pointer(totals),
    )  # fmt: skip
    return hints, best_counts, totals


class NgramTables(NamedTuple):
    """Counts of n-grams: a table of contexts for each order, one of followers for all; sizes as in HintTables."""

    grams: np.ndarray  # GRAM (orders, slots)
    followers: np.ndarray  # FOLLOWER
    used: np.ndarray  # int64 (9,): of each order, and followers
    unigrams: np.ndarray  # uint32 (V + 1,), the last is their sum


def ngrams_follow(
    tables: NgramTables, smoothing: int, least: int, strength: float, tokens: np.ndarray, before: int, every: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Back-off probabilities of tokens, each looked up before it is counted; see counts.NgramCounts."""
    orders, vocabulary, count = len(tables.grams), len(tables.unigrams) - 1, len(tokens) - before
    check_arrays((
        (tables.grams.reshape(-1), GRAM, None), (tables.followers, FOLLOWER, None),
        (tables.used, np.int64, MAX_ORDERS + 1), (tables.unigrams, np.uint32, None), (tokens, np.uint16, None),
    ))  # fmt: skip
    check_tables(tables)
    if type(tables.grams) is not np.ndarray or tables.grams.ndim != 2 or not tables.grams.flags.c_contiguous:
        raise ValueError("expected a table of n-grams for each order, values side by side")
    check_slots(tables.grams[0], 1 << 32)
    check_slots(tables.followers, 1 << 40)
    if not 0 < orders <= MAX_ORDERS or not 0 < vocabulary <= 1 << 16 or not 0 <= before <= len(tokens):
        raise ValueError(f"expected 1 to {MAX_ORDERS} orders, a vocabulary of at most {1 << 16}, tokens after {before}")
    tokens = tokens.copy()  # no other thread may change them once they are checked
    if len(tokens) and tokens.max() >= vocabulary:
        raise ValueError(f"expected tokens below {vocabulary}, got {tokens.max()}")
    if least < 1:
        raise ValueError(f"expected a context to have come at least once, got {least}")
    if not 0 <= smoothing < len(SMOOTHINGS) or not 0 < strength < 1e9 or (smoothing == 2 and strength > 1):
        raise ValueError(f"expected one of {SMOOTHINGS} and a strength above 0, a discount of at most 1")
    rows = 1 if every else count
    probabilities = np.empty(vocabulary if every else count)
    evidence, totals = np.empty(rows, np.uint8), np.empty(rows, np.uint32)
    required().ngrams_follow(
        pointer(tables.grams), ctypes.c_int64(tables.grams.shape[1]), pointer(tables.followers),
        ctypes.c_int64(len(tables.followers)), pointer(tables.used), pointer(tables.unigrams),
        *map(ctypes.c_int32, (orders, vocabulary, smoothing, least)), ctypes.c_double(strength),
        pointer(tokens), ctypes.c_int64(len(tokens) if every else before), ctypes.c_int64(count),
        ctypes.c_int32(bool(every)), pointer(probabilities), pointer(evidence), pointer(totals),
    )  # fmt: skip
    return probabilities, evidence, totals


def required() -> ctypes.CDLL:
    loaded = library()
    if loaded is None:
        raise RuntimeError("no C compiler: check library() first")
    return loaded


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


def check_arrays(expected) -> None:
    """Raise ValueError unless every array has its type, its length (None: any), and its values side by side."""
    for array, dtype, length in expected:
        right = (
            type(array) is np.ndarray
            and array.dtype == dtype
            and array.ndim == 1
            and array.flags.c_contiguous
            and array.flags.aligned
        )
        if not right or length not in (None, len(array)):
            raise ValueError(
                f"expected {dtype} ({'n' if length is None else length},), got {array.dtype} {array.shape}"
            )


def check_tables(tables) -> None:
    if not all(table.flags.writeable for table in tables):
        raise ValueError("expected tables that can be written")


def check_slots(table: np.ndarray, most: int) -> None:
    if not 16 <= len(table) <= most or len(table) & (len(table) - 1):
        raise ValueError(f"expected a table whose size is a power of two from 16 to {most}, got {len(table)}")

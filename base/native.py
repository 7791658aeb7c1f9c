"""C code of this program (locked): the arithmetic coder of integer streams, compiled when it is first used.

The only module that compiles or loads machine code: one source (native_source.py), fixed flags. Where there is no C
compiler, callers use `base/compress/mixing_twin.py`: the same arithmetic in Python, the same bytes, slowly.
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

from base.native_source import SOURCE

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O2", "-std=c99", "-fwrapv", "-shared", "-fPIC")
COMPILE_SECONDS = 120.0
MAX_CONTEXTS, MAX_SHIFT, MAX_CELLS = 16, 5, 1 << 19
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
        print(f"native: no C compiler ({', '.join(COMPILERS)}): the coder runs in Python, slowly", file=sys.stderr)
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "native.c"), Path(folder, "native.so")
        source.write_text(SOURCE, encoding="ascii")
        command = [compiler, *FLAGS, "-o", str(output), str(source)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_SECONDS)
            loaded = ctypes.CDLL(str(output))
        except (OSError, subprocess.SubprocessError) as error:
            print(f"native: {compiler} failed ({error}): the coder runs in Python, slowly", file=sys.stderr)
            return None
    loaded.mix_code.restype = ctypes.c_int64
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
    loaded = library()
    if loaded is None:
        raise RuntimeError("no C compiler: check library() first")
    check_arguments(decode, coding)
    values, scales, by_column, shift, contexts, tables, buffer = coding
    count, rows, columns = map(ctypes.c_int64, values.shape)
    pointers = [table.ctypes.data_as(ctypes.c_void_p) for table in tables]
    return loaded.mix_code(
        ctypes.c_int32(decode), values.ctypes.data_as(ctypes.c_void_p), count, rows, columns,
        None if scales is None else scales.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int32(by_column), ctypes.c_int32(shift),
        contexts.ctypes.data_as(ctypes.c_void_p), ctypes.c_int32(len(contexts)), *pointers,
        buffer.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(buffer.size),
    )  # fmt: skip


def check_arguments(decode: bool, coding: Coding) -> None:
    """Raise ValueError for anything that the C code would read or write out of bounds: its callers can be changed."""
    values, scales, by_column, shift, contexts, tables, buffer = coding
    typed = ((values, np.int8), (contexts, np.int32), (buffer, np.uint8), *((table, np.int32) for table in tables))
    plain = all(array.dtype == dtype and array.flags.c_contiguous for array, dtype in typed)
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
        scales.dtype != np.uint8 or not scales.flags.c_contiguous or scales.size != expected or (scales > 47).any()
    ):
        raise ValueError(f"expected {expected} levels of scales from 0 to 47")
    limits = ((4096, -2047, 2047), (4096, 1, 65535), (1024, 1, 65535))
    for table, (size, low, high) in zip(tables, limits, strict=True):
        if table.shape != (size,) or table.min() < low or table.max() > high:
            raise ValueError(f"expected a table of {size} integers from {low} to {high}")

"""The locked C code refuses what it would read or write out of bounds, whoever calls it."""

import numpy as np
import pytest

from base import native
from base.c_source.mixing import SOURCE
from base.compress import mixing

pytestmark = pytest.mark.skipif(native.library() is None, reason="there is no C compiler to compile base/native.py")
CONTEXTS = np.array([[mixing.FEATURES.index(name) for name in pair] for pair in mixing.CONTEXTS], dtype=np.int32)


def call(decode=False, **changes):
    values = np.ones((2, 3, 4), dtype=np.int8)
    arguments = {"values": values, "scales": None, "by_column": False, "shift": 0, "contexts": CONTEXTS}
    arguments |= {"tables": mixing.tables(), "buffer": np.zeros(100, dtype=np.uint8)} | changes
    return native.mix_code(decode, native.Coding(**arguments))


def table(index, change):
    """The tables with one entry changed."""
    tables = [array.copy() for array in mixing.tables()]
    tables[index][7] = change
    return tuple(tables)


def read_only(array):
    array.setflags(write=False)
    return array


def test_the_plain_call_works():
    assert call() > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"shift": 6},
        {"shift": -1},
        {"shift": 20},
        {"contexts": np.array([[13, 0]], dtype=np.int32)},
        {"contexts": np.array([[-1, 0]], dtype=np.int32)},
        {"contexts": np.zeros((17, 2), dtype=np.int32)},
        {"contexts": np.zeros((0, 2), dtype=np.int32)},
        {"contexts": np.zeros((3, 3), dtype=np.int32)},
        {"contexts": CONTEXTS.astype(np.int64)},
        {"values": np.ones((2, 3, 4), dtype=np.int16)},
        {"values": np.ones((3, 4), dtype=np.int8)},
        {"values": np.ones((2, 3, 8), dtype=np.int8)[:, :, ::2]},
        {"values": np.ones((1, 1, 1 << 20), dtype=np.int8)},
        {"scales": np.zeros(5, dtype=np.uint8)},
        {"scales": np.full(6, 48, dtype=np.uint8)},
        {"scales": np.zeros(6, dtype=np.int32)},
        {"scales": np.zeros(6, dtype=np.uint8), "by_column": True},
        {"buffer": read_only(np.zeros(100, dtype=np.uint8))},
        {"buffer": np.zeros((10, 10), dtype=np.uint8)},
        {"tables": table(0, 5000)},
        {"tables": table(1, 0)},
        {"tables": table(2, 70_000)},
        {"tables": tuple(array[:100].copy() for array in mixing.tables())},
    ],
)
def test_what_would_leave_its_arrays_is_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        call(**changes)


def test_what_is_decoded_into_must_be_writable():
    with pytest.raises(ValueError, match="expected"):
        call(decode=True, values=read_only(np.ones((2, 3, 4), dtype=np.int8)))


def test_the_levels_that_are_checked_are_those_of_the_source():
    sizes = SOURCE.partition("SIZES[FEATURES] = {")[2].partition("}")[0]
    assert tuple(map(int, sizes.split(","))) == native.LEVELS
    assert len(native.LEVELS) == len(mixing.FEATURES)
    assert native.LEVELS.index(0) == mixing.FEATURES.index("column")


def test_there_is_nothing_to_read_in_an_empty_buffer():
    assert call(decode=True, buffer=np.zeros(0, dtype=np.uint8)) == -1
    assert call(buffer=np.zeros(3, dtype=np.uint8)) == -1

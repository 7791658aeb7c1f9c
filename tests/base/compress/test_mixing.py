"""The coder of integers: it round-trips, its C and its Python give the same bytes, and it learns what it should."""

import hashlib

import numpy as np
import pytest

from base import native
from base.compress import mixing, mixing_twin
from base.compress.errors import FormatError

SHAPES = [(1, 1, 1), (2, 5, 7), (3, 1, 40), (1, 40, 1), (2, 12, 64)]


def drawn(shape, spread, seed=0):
    """Integers whose rows and columns have widths of their own, as weights do."""
    rng = np.random.default_rng(seed)
    widths = rng.lognormal(0, 0.7, (shape[0], shape[1], 1)) * rng.lognormal(0, 0.7, (1, 1, shape[2]))
    return np.clip(np.round(spread * widths * rng.standard_normal(shape)), -128, 127).astype(np.int8)


def levels_of(shape, seed=0):
    scales = np.random.default_rng(seed).lognormal(0, 1, shape[:2]).astype(np.float16)
    return mixing.scale_levels(scales)


def encoded(code, values, scales, by_column=False):
    """Return the bytes that one of the two coders writes."""
    contexts = np.array([[mixing.FEATURES.index(name) for name in pair] for pair in mixing.CONTEXTS], dtype=np.int32)
    buffer = np.zeros(2 * values.size + 64, dtype=np.uint8)
    written = code(
        False, native.Coding(values, scales, by_column, mixing.best_shift(values), contexts, mixing.tables(), buffer)
    )
    return buffer[:written].tobytes()


@pytest.mark.parametrize("spread", [0.05, 1.0, 6.0, 80.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_round_trips_and_both_coders_agree(shape, spread):
    values, scales = drawn(shape, spread), levels_of(shape)
    for known in (None, scales):
        blob = mixing.encode(values, known)
        assert np.array_equal(mixing.decode(blob, shape, known), values)
        twin = encoded(mixing_twin.mix_code, values, known)
        assert blob[1:] == twin
        if native.library():
            assert encoded(native.mix_code, values, known) == twin


@pytest.mark.parametrize("shape", SHAPES)
def test_scales_of_columns_are_known_to_both(shape):
    """Transposed matrices, as a stream of output projections is coded."""
    values, scales = drawn(shape, 3.0).transpose(0, 2, 1).copy(), levels_of(shape)
    blob = mixing.encode(values, scales, by_column=True)
    assert np.array_equal(mixing.decode(blob, values.shape, scales, by_column=True), values)
    assert blob[1:] == encoded(mixing_twin.mix_code, values, scales, by_column=True)


def test_the_twin_decodes_what_c_has_written():
    values = drawn((2, 9, 30), 3.0)
    blob = mixing.encode(values)
    contexts = np.array([[mixing.FEATURES.index(name) for name in pair] for pair in mixing.CONTEXTS], dtype=np.int32)
    decoded, body = np.empty_like(values), np.frombuffer(blob, np.uint8, offset=1).copy()
    coding = native.Coding(decoded, None, False, blob[0], contexts, mixing.tables(), body)
    assert mixing_twin.mix_code(True, coding) == body.size
    assert np.array_equal(decoded, values)


@pytest.mark.parametrize("value", [-128, 127, 0, 1, -1])
def test_every_integer_can_be_coded(value):
    values = np.full((1, 30, 30), value, dtype=np.int8)
    values[0, 3, 4] = 5
    blob = mixing.encode(values)
    assert np.array_equal(mixing.decode(blob, values.shape), values)
    assert len(blob) < 150


def entropy_bytes(values):
    counts = np.bincount(values.ravel().astype(np.int64) + 128)
    counts = counts[counts > 0]
    return -(counts * np.log2(counts / counts.sum())).sum() / 8


def test_noise_costs_little_more_than_its_entropy_and_structure_less():
    rng = np.random.default_rng(0)
    noise = np.clip(np.round(2.4 * rng.standard_normal((4, 128, 256))), -31, 31).astype(np.int8)
    assert len(mixing.encode(noise)) < 1.01 * entropy_bytes(noise)
    structured = drawn((4, 128, 256), 2.4)
    assert len(mixing.encode(structured)) < 0.93 * entropy_bytes(structured)


def test_the_layer_before_helps():
    """The same magnitudes at the same places in every layer, signs at random."""
    rng = np.random.default_rng(0)
    magnitudes = np.abs(np.round(2.4 * rng.standard_normal((1, 64, 128))))
    values = (magnitudes * rng.choice([-1, 1], (6, 64, 128))).astype(np.int8)
    assert len(mixing.encode(values)) < 0.75 * entropy_bytes(values)


@pytest.mark.parametrize("cut", [0, 1, 2, 5, 50, -1, -4])
def test_a_stream_cut_short_or_too_long_is_an_error(cut):
    values = drawn((2, 12, 64), 3.0)
    blob = mixing.encode(values)
    for harmed in (blob[:cut], blob + b"\0"):
        with pytest.raises(FormatError):
            mixing.decode(harmed, values.shape)


def test_hostile_shapes_are_refused_before_anything_is_allocated():
    for blob, shape in ((b"", (1, 2, 2)), (b"\x06" + bytes(9), (1, 2, 2)), (b"\0" + bytes(9), (1, 1, 1 << 20))):
        with pytest.raises(FormatError, match="columns"):
            mixing.decode(blob, shape)


def test_the_tables_are_the_functions_that_they_stand_for():
    stretch, squash, reciprocal = mixing.tables()
    x = np.arange(1, 4096) - 2048
    assert np.abs(squash[1:] - 65536 / (1 + np.exp(-x / 256))).max() < 1.01
    p = (np.arange(4096) + 0.5) / 4096
    assert np.abs(stretch - 256 * np.log(p / (1 - p)))[40:-40].max() < 2.0
    assert np.array_equal(reciprocal, [131072 // (2 * n + 3) for n in range(1024)])
    assert (np.diff(squash) >= 0).all()
    assert (np.diff(stretch) >= 0).all()


def test_equal_weights_give_these_bytes_on_every_machine():
    """Integers from an explicit generator, so that neither NumPy's nor the machine's arithmetic takes part."""
    state, values = 1, []
    for _ in range(3 * 20 * 48):
        state = (state * 1_103_515_245 + 12_345) % 2**31
        values.append((state >> 16) % 7 + (state >> 20) % 7 - 6)
    blob = mixing.encode(np.array(values, dtype=np.int8).reshape(3, 20, 48))
    assert hashlib.sha256(blob).hexdigest() == "2aa0b4531988f349270670c4872afbc7f98279b11ef3de95a09ce21d956faeaf"

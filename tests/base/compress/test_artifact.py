"""artifact.bin: it gives back weights.bin to the byte, fits its cap by pruning alone, and survives hostile files."""

import json
import random
import resource
import struct
import zlib

import brotli
import numpy as np
import pytest
import zstandard

from base.compress import artifact, container, forms, pruning, streams
from base.compress.errors import FormatError

ALL = streams.CODECS


def weights(layers=2, rows=24, columns=32, seed=0):
    """Arrays like a small model's: matrices of two roles, a table, scales and floats."""
    rng = np.random.default_rng(seed)
    shapes = {f"blocks.{k}.{part}.weight": (rows, columns) for k in range(layers) for part in ("mlp.up", "attention.q")}
    arrays = {}
    for name, shape in {**shapes, "embedding": (60, columns)}.items():
        arrays[name + streams.INTEGERS] = np.clip(np.round(2 * rng.standard_normal(shape)), -31, 31).astype(np.int8)
        arrays[name + streams.SCALES] = rng.lognormal(-4, 0.5, shape[:1]).astype(np.float16)
    arrays["blocks.0.gain"] = rng.standard_normal(columns).astype(np.float32)
    arrays["empty"] = np.zeros((0, 3), np.float32)
    return arrays


BLOB = container.dump({"model": {"num_layers": 2}}, weights())


@pytest.mark.parametrize("codecs", [ALL, ("mix",), ("brotli",), ("zstd",), ("lzma",), ()])
def test_it_gives_back_the_weights_to_the_byte(codecs):
    packed = artifact.pack(BLOB, codecs)
    assert container.dump(*artifact.unpack(packed)) == BLOB
    assert packed == artifact.pack(BLOB, codecs), "equal weights give equal bytes"


def test_more_codecs_never_give_a_larger_file():
    arrays = container.load(BLOB)[1]
    coded = [artifact.encode(arrays, codecs) for codecs in (ALL, *((codec,) for codec in ALL), ())]
    sizes = [sum(len(stream.blob) for stream in streams) for streams in coded]
    assert sizes[0] == min(sizes)
    assert sizes[-1] == max(sizes)


def test_a_long_stream_is_decided_on_a_sample_and_kept():
    arrays = weights(layers=2, rows=600, columns=512)
    blob = container.dump({}, arrays)
    packed = artifact.pack(blob)
    assert container.dump(*artifact.unpack(packed)) == blob
    assert {stream.codec for stream in artifact.read(packed)[2] if stream.kind == "mlp.up"} == {"mix"}


def test_blob_order_and_meta_do_not_matter_to_streams():
    arrays = weights()
    assert artifact.encode(arrays) == artifact.encode(dict(reversed(arrays.items())))


@pytest.mark.parametrize("form", forms.FORMS)
def test_every_form_is_reversible(form):
    rng = np.random.default_rng(1)
    shape = (3, 10, 16)
    data = rng.integers(-31, 32, shape).astype(np.int8).tobytes()
    item = 2 if form == "shuffle" else 1
    arranged = forms.arrange(form, data, item, shape)
    assert len(arranged) == len(data) + forms.added_bytes(form, shape)
    assert forms.restore(form, arranged, item, shape) == data


def test_rows_follow_their_nearest_neighbor():
    """Against a slow twin that measures every distance."""
    rng = np.random.default_rng(2)
    matrix = rng.integers(-127, 128, (40, 1500)).astype(np.int8)
    left, order = list(range(1, 40)), [0]
    while left:
        last = matrix[order[-1]].astype(np.int64)
        distances = [int(((matrix[row].astype(np.int64) - last) ** 2).sum()) for row in left]
        order.append(left.pop(int(np.argmin(distances))))
    assert forms.similarity_order(matrix).tolist() == order


@pytest.mark.parametrize("share", [1.0, 0.97, 0.9, 0.8])
def test_pruning_ends_just_under_the_cap(share):
    blob = container.dump({}, weights(layers=2, rows=120, columns=256))
    whole = artifact.pack(blob)
    cap = int(share * len(whole))
    packed = pruning.pack_within(blob, cap, ALL)
    assert cap - 200 <= len(packed) <= cap
    before, after = container.load(blob)[1], artifact.unpack(packed)[1]
    zeroed = 0
    for name, array in before.items():
        changed = array != after[name]
        assert not changed.any() or name.endswith(streams.INTEGERS)
        assert (np.abs(array[changed]) == 1).all()
        assert not after[name][changed].any()
        zeroed += int(changed.sum())
    assert (zeroed == 0) == (share == 1.0)
    expected = pruning.prune(before, pruning.pruning_order(before)[:zeroed])
    assert all(np.array_equal(expected[name], after[name]) for name in before), "the cheapest went first"


def test_what_cannot_fit_is_returned_whole():
    assert pruning.pack_within(BLOB, 100, ALL) == artifact.pack(BLOB)


def header_of(packed):
    lengths = struct.unpack_from("<II", packed, len(artifact.MAGIC))
    start = len(artifact.MAGIC) + 12
    return json.loads(brotli.decompress(packed[start : start + lengths[0]])), packed[start + lengths[0] :]


def with_header(header, body):
    text = json.dumps(header).encode()
    packed = brotli.compress(text)
    return artifact.MAGIC + struct.pack("<III", len(packed), len(text), zlib.crc32(text)) + packed + body


def hostile_headers(packed):
    """Files whose header lies about arrays, streams or sizes."""
    header, body = header_of(packed)

    def changed(change):
        copy = json.loads(json.dumps(header))
        change(copy)
        return with_header(copy, body)

    huge, stream = 1 << 40, 2
    yield changed(lambda h: h["arrays"][0].__setitem__(2, [huge, huge]))
    yield changed(lambda h: h["arrays"][0].__setitem__(2, [1 << 14, 1 << 14]))
    yield changed(lambda h: h["arrays"][0].__setitem__(2, [-1, 4]))
    yield changed(lambda h: h["arrays"][0].__setitem__(2, ["4", 4]))
    yield changed(lambda h: h["arrays"][0].__setitem__(1, "object"))
    yield changed(lambda h: h["arrays"][0].__setitem__(0, h["arrays"][1][0]))
    yield changed(lambda h: h["arrays"].pop())
    yield changed(lambda h: h.pop("arrays"))
    yield changed(lambda h: h.pop("streams"))
    yield changed(lambda h: h["meta"].clear() or h.__setitem__("meta", []))
    for index in range(len(header["streams"])):
        for value in ("mix", "pickle", "zstd", "lzma", "brotli", "raw"):
            yield changed(lambda h, index=index, value=value: h["streams"][index].__setitem__(stream, value))
        yield changed(lambda h, index=index: h["streams"][index].__setitem__(3, "shuffle"))
        yield changed(lambda h, index=index: h["streams"][index].__setitem__(3, "rows"))
        yield changed(lambda h, index=index: h["streams"][index].__setitem__(5, huge))
        yield changed(lambda h, index=index: h["streams"][index].__setitem__(5, -1))
        yield changed(lambda h, index=index: h["streams"][index].__setitem__(1, []))
        yield changed(lambda h, index=index: h["streams"][index].__setitem__(1, [10**6]))
        yield changed(lambda h, index=index: h["streams"][index].__setitem__(4, 1))


def mutations(packed, count, seed=0):
    """Files with bytes changed, cut, inserted or repeated, anywhere and in the header."""
    rng = random.Random(seed)
    for number in range(count):
        blob = bytearray(packed)
        at = rng.randrange(len(blob) if number % 2 else min(len(blob), 400))
        kind = rng.randrange(4)
        if kind == 0:
            blob[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del blob[at:]
        elif kind == 2:
            blob[at:at] = rng.randbytes(rng.randrange(1, 9))
        else:
            blob[at : at + rng.randrange(1, 40)] = rng.randbytes(rng.randrange(1, 40))
        yield bytes(blob)


def test_damaged_and_hostile_files_give_an_error_in_a_line():
    """More than 500, with no crash and no large allocation: the peak of memory hardly moves."""
    packed = artifact.pack(BLOB)
    damaged = [*mutations(packed, 500), b"", b"PK\x03\x04", packed + b"\0", packed[:9]]
    before, errors = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for blob in (*damaged, *hostile_headers(packed)):
        try:
            unpacked = container.dump(*artifact.unpack(blob))
        except FormatError as error:
            errors.append(str(error))
        else:  # a mutation that changed nothing, or a header that is true but for its form
            assert unpacked == BLOB or blob not in damaged, "damage that went unnoticed"
    assert len(errors) > 500
    assert all(error and "\n" not in error for error in errors)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_hostile_weights_give_an_error_in_a_line():
    errors = []
    for blob in (*mutations(BLOB, 200, seed=1), b"", BLOB + b"\0", BLOB[:-1]):
        try:
            container.dump(*container.load(blob))
        except FormatError as error:
            errors.append(str(error))
    assert len(errors) > 100
    assert all(error and "\n" not in error for error in errors)


def test_claims_that_would_take_memory_or_time_are_refused_at_once():
    """A frame of zstd with a size of its own, sides of empty arrays, rows without end, scales of another type."""
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(1 << 28))
    arrays = {"a:q": np.ones((4, 4), np.int8), "a:scale": np.ones(4, np.float16)}
    packed = artifact.pack(container.dump({}, arrays), ())
    header, _ = header_of(packed)

    def hostile(shape, codec, form, blob, scale="float16"):
        listing = [["a:scale", scale, [4]], ["a:q", "int8", shape]]
        streams_ = [["scales", [0], "raw", "plain", zlib.crc32(bytes(8)), 8], ["a", [1], codec, form, 0, len(blob)]]
        return with_header({**header, "arrays": listing, "streams": streams_}, bytes(8) + blob)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for blob in (
        hostile([4, 4], "zstd", "plain", bomb),
        hostile([1 << 30, 0], "mix", "plain", b"\0" * 9),
        hostile([1 << 45, 0], "zstd", "rows", b""),
        hostile([1 << 70, 0], "raw", "plain", b""),
        hostile([4], "mix", "plain", b"\0" * 9),
        hostile([], "mix", "plain", b"\0" * 9),
        hostile([4, 4], "mix", "plain", b"\0" * 9, scale="float32"),
        hostile([True, 4], "raw", "plain", bytes(4)),
    ):
        with pytest.raises(FormatError, match=r"\w"):
            artifact.unpack(blob)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes

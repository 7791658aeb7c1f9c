"""The harness's own reader of weights and artifacts, and the one change that packing may make."""

import json
import struct

import brotli
import numpy as np
import pytest

from base.compress import artifact, container, pruning
from preflight.candidate import weights_file
from preflight.candidate.weights_file import UnknownFormatError, pruned_count, read_artifact, read_weights


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    found = {}
    for name, rows in (("blocks.0.up", 20), ("blocks.1.up", 20), ("embedding", 9)):
        found[f"{name}:q"] = rng.integers(-3, 4, (rows, 16)).astype(np.int8)
        found[f"{name}:scale"] = rng.lognormal(-4, 1, rows).astype(np.float16)
    found["gain"] = rng.standard_normal(7).astype(np.float32)
    return found


META = {"model": {"num_layers": 2}}
BLOB = container.dump(META, arrays())


def test_both_readers_of_weights_agree():
    _, read = read_weights(BLOB)
    meta, expected = container.load(BLOB)
    assert meta == META
    assert read.keys() == expected.keys()
    assert all(np.array_equal(read[name], expected[name]) for name in expected)
    assert weights_file.WEIGHTS_MAGIC == container.MAGIC
    assert weights_file.DTYPES == container.DTYPES


def test_both_readers_of_artifacts_agree():
    packed = artifact.pack(BLOB)
    header, listing, streams = artifact.read(packed)
    found = read_artifact(packed)
    assert found.meta == header["meta"]
    assert [(name, *found.shapes[name]) for name in found.shapes] == listing
    assert [(each.kind, each.codec, each.size) for each in found.streams] == [
        (each.kind, each.codec, len(each.blob)) for each in streams
    ]
    assert found.overhead + sum(each.size for each in found.streams) == len(packed)


def test_both_orders_of_pruning_agree():
    assert np.array_equal(weights_file.pruning_order(arrays()), pruning.pruning_order(arrays()))


def pruned(count):
    order = pruning.pruning_order(arrays())
    return container.dump(META, pruning.prune(arrays(), order[:count]))


@pytest.mark.parametrize("count", [0, 1, 7, 60])
def test_the_cheapest_integers_may_go(count):
    assert pruned_count(BLOB, pruned(count)) == count


def test_packing_prunes_only_what_it_may():
    cap = int(0.9 * len(artifact.pack(BLOB)))
    packed = pruning.pack_within(BLOB, cap, ("mix",))
    assert len(packed) <= cap
    count = pruned_count(BLOB, container.dump(*artifact.unpack(packed)))
    assert count
    assert pruned(count) == container.dump(*artifact.unpack(packed))


def changed(change):
    copy = {name: array.copy() for name, array in arrays().items()}
    change(copy)
    return container.dump(META, copy)


def set_first(values, before, after):
    """Set the first integer of this value to another one."""
    index = np.flatnonzero(values.ravel() == before)[0]
    values.ravel()[index] = after


@pytest.mark.parametrize(
    "harmed",
    [
        pytest.param(changed(lambda found: set_first(found["embedding:q"], 2, 0)), id="a 2 went"),
        pytest.param(changed(lambda found: set_first(found["embedding:q"], 1, -1)), id="another value"),
        pytest.param(changed(lambda found: set_first(found["embedding:q"], 0, 1)), id="a 0 became a 1"),
        pytest.param(changed(lambda found: found["gain"].__setitem__(0, 1.0)), id="a float"),
        pytest.param(changed(lambda found: found["embedding:scale"].__setitem__(0, 1.0)), id="a scale"),
        pytest.param(container.dump({"model": {}}, arrays()), id="the header"),
        pytest.param(BLOB[:-1], id="cut"),
        pytest.param(BLOB + b"\0", id="longer"),
        pytest.param(b"", id="empty"),
        pytest.param(bytes(len(BLOB)), id="another format"),
    ],
)
def test_anything_else_is_not_packing(harmed):
    assert pruned_count(BLOB, harmed) is None


def test_another_choice_of_the_same_number_is_information():
    """Any other set of pruned positions could carry a bit for each of them."""
    order = pruning.pruning_order(arrays())
    for skipped in (0, 3, 10):
        positions = np.delete(order[:20], skipped)
        other = container.dump(META, pruning.prune(arrays(), positions))
        assert pruned_count(BLOB, other) is None


@pytest.mark.parametrize("format_", [b"text", BLOB[:30], b"CADD\x01" + b"\xff" * 40])
def test_a_format_of_its_own_must_come_back_to_the_byte(format_):
    assert pruned_count(format_, format_) == 0
    assert pruned_count(format_, format_[:-1] + b"!") is None
    with pytest.raises(UnknownFormatError):
        read_weights(format_)
    with pytest.raises(UnknownFormatError):
        read_artifact(format_)


def container_of(listing, body=b""):
    header = json.dumps({"meta": {}, "arrays": listing}).encode()
    return container.MAGIC + struct.pack("<I", len(header)) + header + body


@pytest.mark.parametrize(
    ("listing", "body"),
    [
        ([["x:q", "int8", []], ["x:scale", "float16", []]], b"\x01\0\0"),
        ([["x:q", "int8", [4]], ["x:scale", "float16", []]], b"\x01\x01\x01\x01\0\0"),
        ([["x:q", "float32", [1, 4]], ["x:scale", "float16", [1]]], np.full(4, 1.5, "<f4").tobytes() + b"\0\0"),
        ([["x:q", "int8", [1 << 70]]], b""),
        ([["x:q", "int8", [1 << 40, 0]]], b""),
        ([["x:q", "int8", [True, 4]]], bytes(4)),
        ([["x:q", "int8", [1, 4]]], b"\x01\x01\x01\x01"),
    ],
)
def test_foreign_arrays_are_an_answer_and_no_crash(listing, body):
    """The program writes both files: whatever it claims, the harness refuses or says None."""
    before = container_of(listing, body)
    assert pruned_count(before, before[: len(before) - len(body)] + bytes(len(body))) in (None, 0)


def test_floats_between_one_and_two_are_no_integers_of_one():
    """Each could carry 24 bits to packing and then be taken away."""
    listing = [["x:q", "float32", [4, 4]], ["x:scale", "float16", [4]]]
    text = np.random.default_rng(0).uniform(1, 2, 16).astype("<f4").tobytes()
    assert pruned_count(container_of(listing, text + bytes(8)), container_of(listing, bytes(64 + 8))) is None


@pytest.mark.parametrize("size", [float("inf"), -1, "3", None, 1 << 70])
def test_foreign_streams_are_refused(size):
    listing = [["x", "int8", [4]]]
    text = json.dumps({"meta": {}, "arrays": listing, "streams": [["x", [0], "raw", "plain", 0, size]]}).encode()
    packed = brotli.compress(text)
    blob = weights_file.ARTIFACT_MAGIC + struct.pack("<III", len(packed), len(text), 0) + packed + bytes(4)
    with pytest.raises(UnknownFormatError):
        read_artifact(blob)

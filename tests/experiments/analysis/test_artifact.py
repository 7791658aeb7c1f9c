"""Tests of the table of an artifact's bytes: its parts sum to the file, and a foreign file is refused in a line."""

import json
import struct

import brotli
import numpy as np
import pytest

from common.errors import CaddieError
from experiments.analysis import artifact
from preflight.candidate.weights_file import ARTIFACT_MAGIC, WEIGHTS_MAGIC

ARRAYS = {
    "blocks.0.w:q": np.array([[3, -3, 1, 0]] * 2, np.int8),
    "blocks.1.w:q": np.array([[0, 0, 0, 1]] * 2, np.int8),
    "blocks.0.w:scale": np.ones(2, np.float16),
}


def written(folder, meta=None, sizes=(37, 11)):
    """Write weights.bin and an artifact.bin whose streams are noise, and return their paths."""
    listing = [[name, array.dtype.name, list(array.shape)] for name, array in ARRAYS.items()]
    header = json.dumps({"meta": {}, "arrays": listing}).encode()
    weights = (
        WEIGHTS_MAGIC + struct.pack("<I", len(header)) + header + b"".join(map(np.ndarray.tobytes, ARRAYS.values()))
    )
    streams = [["w", [0, 1], "mix", "plain", 0, sizes[0]], ["scales", [2], "raw", "plain", 0, sizes[1]]]
    meta = {"matrices": {"blocks.0.w": [3, 0.25], "blocks.1.w": ["x", None]}} if meta is None else meta
    text = json.dumps({"meta": meta, "arrays": listing, "streams": streams}).encode()
    packed = brotli.compress(text)
    blob = ARTIFACT_MAGIC + struct.pack("<III", len(packed), len(text), 0) + packed + bytes(sum(sizes))
    paths = folder / "artifact.bin", folder / "weights.bin"
    for path, content in zip(paths, (blob, weights), strict=True):
        path.write_bytes(content)
    return paths


def test_the_parts_sum_to_the_file_to_the_byte(tmp_path):
    paths = written(tmp_path)
    found = {tensor.name: tensor for tensor in artifact.read(*paths)}
    assert sum(tensor.size for tensor in found.values()) == paths[0].stat().st_size
    assert found["blocks.0.w:q"].size + found["blocks.1.w:q"].size == 37
    assert found["blocks.0.w:q"].size > found["blocks.1.w:q"].size, "the one of higher entropy takes more of a stream"
    first = found["blocks.0.w:q"]
    assert (first.bits, first.clipped, first.error) == (3, 0.5, 0.25)
    assert found["blocks.1.w:q"].bits is None, "what the program states wrongly is left out"


@pytest.mark.parametrize("meta", [{"matrices": 3}, {"matrices": {"blocks.0.w": [3, "nan"]}}, {}])
def test_what_a_program_states_is_not_trusted(tmp_path, meta):
    assert all(tensor.error is None for tensor in artifact.read(*written(tmp_path, meta)))


@pytest.mark.parametrize("harm", ["empty", "cut", "longer", "magic", "length", "link", "gone"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_foreign_file_is_refused_in_a_line(tmp_path, which, harm):
    paths = written(tmp_path)
    path, content = paths[which], paths[which].read_bytes()
    path.unlink()
    changed = {
        "empty": b"",
        "cut": content[:-1],
        "longer": content + b"x",
        "magic": b"PK" + content[2:],
        "length": content[:5] + b"\xff\xff\xff\x7f" + content[9:],
    }
    if harm == "link":
        path.symlink_to("/dev/zero")
    elif harm != "gone":
        path.write_bytes(changed[harm])
    with pytest.raises(CaddieError, match=r"\w"):
        artifact.read(*paths)


def test_divided_parts_sum_to_the_whole():
    rng = np.random.default_rng(0)
    for _ in range(50):
        shares = rng.exponential(size=rng.integers(1, 9)).tolist()
        total = int(rng.integers(0, 1000))
        parts = artifact.divided(total, shares)
        assert sum(parts) == total
        assert min(parts) >= 0
    assert artifact.divided(7, [0.0, 0.0]) == [7, 0]

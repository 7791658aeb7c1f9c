"""Tests of the table of an artifact's bytes by kind of array."""

import json

from experiments.report import artifact_bytes


def test_streams_add_up_and_a_damaged_file_has_none(tmp_path):
    arrays = {"blocks.0.w:q": b"\x01" * 64, "blocks.1.w:q": b"\x02" * 64, "scale": b"\x00\x00\x80?" * 4}
    listing = [[name, "float32" if name == "scale" else "int8", [4] if name == "scale" else [8, 8]] for name in arrays]
    header = json.dumps({"meta": {}, "arrays": listing}).encode()
    good = artifact_bytes.MAGIC + artifact_bytes.LENGTH.pack(len(header)) + header + b"".join(arrays.values())
    path = tmp_path / "weights.bin"
    path.write_bytes(good)
    counts = {stream.name: (stream.arrays, stream.raw_bytes) for stream in artifact_bytes.read(path)}
    assert counts == {
        "blocks.*.w:q": (2, 128),
        "scale": (1, 16),
    }
    endless = json.dumps({"meta": {}, "arrays": [["a", "int8", [float("inf")]]]}).encode()
    for bad in (
        artifact_bytes.MAGIC + artifact_bytes.LENGTH.pack(len(endless)) + endless,
        b"",
        good[:40],
        good[:-1],
        b"PK" + good[2:],
        artifact_bytes.MAGIC + b"\xff\xff\xff\xff" + header,
    ):
        path.write_bytes(bad)
        assert artifact_bytes.read(path) == []
    path.unlink()
    path.symlink_to("/dev/zero")
    assert artifact_bytes.read(path) == []
    assert artifact_bytes.read(tmp_path / "absent") == []

"""Tests of the shard format: round trips, and damaged shards."""

import numpy as np
import pytest

from common.errors import DataError
from data.shards import HEADER_BYTES, read_shard, write_shard


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "fineweb_val_000000.bin"
    write_shard(path, np.arange(100))
    return path


def test_a_shard_round_trips(shard):
    assert np.array_equal(read_shard(shard), np.arange(100))
    assert shard.stat().st_size == HEADER_BYTES + 200


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda blob: blob[:500], "expected a header of 1024 bytes, found 500"),
        (lambda blob: b"\0" * 4 + blob[4:], "expected magic 20240520, found 0"),
        (lambda blob: blob[:4] + b"\2\0\0\0" + blob[8:], "expected version 1, found 2"),
        (lambda blob: blob[:-1], "expected 1224 bytes for 100 tokens, found 1223"),
        (lambda blob: blob + b"xx", "expected 1224 bytes for 100 tokens, found 1226"),
    ],
)
def test_a_damaged_shard_names_file_expected_and_found(shard, damage, words):
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(DataError, match=words) as caught:
        read_shard(shard)
    assert str(shard) in str(caught.value)


def test_tokens_beyond_the_vocabulary_are_named(shard):
    with pytest.raises(DataError, match="below 64, found 99"):
        read_shard(shard, 64)
    with pytest.raises(DataError, match="65536"):
        write_shard(shard, np.array([65536]))

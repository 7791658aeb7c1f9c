"""Formats that base/ and the harness each implement in a file of their own: pins the copies to each other."""

import socket

import numpy as np
import pytest

from base import protocol
from base.tokens import bpb
from base.tokens import shards as base_shards
from data import shards as harness_shards
from data.byte_table import ByteTable, bits_per_byte
from preflight.candidate import candidate
from preflight.scoring import protocol as harness_protocol


def test_the_wire_format():
    names = ("OBSERVE", "PREDICT", "RESET", "QUIT")
    assert [getattr(protocol, name) for name in names] == [getattr(harness_protocol, name) for name in names]
    assert protocol.HEADER.format == harness_protocol.HEADER.format
    assert protocol.EXIT_NOT_FINITE == candidate.EXIT_NOT_FINITE
    harness_end, base_end = socket.socketpair()
    with harness_end, base_end:
        client = harness_protocol.ScorerClient(harness_end, 4, 5.0)
        tokens = np.array([0, 1, 65535], dtype=np.uint16)
        harness_end.sendall(harness_protocol.HEADER.pack(b"O", 3) + tokens.astype("<u2").tobytes())
        operation, received = protocol.receive(base_end)
        assert operation == b"O"
        assert np.array_equal(received, tokens)
        values = np.array([0.5, 1.25, 7.0], dtype=np.float32)
        protocol.reply(base_end, b"O", values)
        assert np.array_equal(client.observe(tokens), values)


def test_both_readers_of_shards_agree(tmp_path):
    path = tmp_path / "fineweb_train_000000.bin"
    tokens = np.random.default_rng(0).integers(0, 65536, 1000)
    harness_shards.write_shard(path, tokens)
    assert np.array_equal(base_shards.read_one(path), tokens)
    assert np.array_equal(harness_shards.read_shard(path), tokens)
    assert np.array_equal(base_shards.read(tmp_path, "fineweb_train_*.bin"), harness_shards.read_shards([path]))


def test_both_byte_counts_agree(tiny_corpus):
    tokens = tiny_corpus.tokens("dev")
    expected = int(ByteTable.from_tokenizer(tiny_corpus.tokenizer).target_bytes(tokens).sum())
    assert bpb.target_bytes(tiny_corpus.tokenizer, tokens) == expected == tiny_corpus.manifest.text_bytes["dev"]
    assert bpb.bits_per_byte(12.5, 7) == pytest.approx(bits_per_byte(12.5, 7))

"""What stands on both sides of the wall stands in two files: these pin the twins to each other."""

import socket

import numpy as np
import pytest

from base import protocol
from base.tokens import bpb
from base.tokens import shards as their_shards
from data import shards as our_shards
from data.byte_table import ByteTable, bits_per_byte
from preflight import conversation, phases


def test_the_wire_format():
    names = ("OBSERVE", "PREDICT", "RESET", "QUIT")
    assert [getattr(protocol, name) for name in names] == [getattr(conversation, name) for name in names]
    assert protocol.HEADER.format == conversation.HEADER.format
    assert protocol.EXIT_NOT_FINITE == phases.EXIT_NOT_FINITE
    ours, theirs = socket.socketpair()
    with ours, theirs:
        talk = conversation.Conversation(ours, 4, 5.0)
        tokens = np.array([0, 1, 65535], dtype=np.uint16)
        ours.sendall(conversation.HEADER.pack(b"O", 3) + tokens.astype("<u2").tobytes())
        operation, found = protocol.receive(theirs)
        assert operation == b"O"
        assert np.array_equal(found, tokens)
        values = np.array([0.5, 1.25, 7.0], dtype=np.float32)
        protocol.reply(theirs, b"O", values)
        assert np.array_equal(talk.observe(tokens), values)


def test_shards_are_read_alike(tmp_path):
    path = tmp_path / "fineweb_train_000000.bin"
    tokens = np.random.default_rng(0).integers(0, 65536, 1000)
    our_shards.write_shard(path, tokens)
    assert np.array_equal(their_shards.read_one(path), tokens)
    assert np.array_equal(our_shards.read_shard(path), tokens)
    assert np.array_equal(their_shards.read(tmp_path, "fineweb_train_*.bin"), our_shards.read_shards([path]))


def test_bytes_are_counted_alike(tiny_corpus):
    tokens = tiny_corpus.tokens("dev")
    expected = int(ByteTable.from_tokenizer(tiny_corpus.tokenizer).target_bytes(tokens).sum())
    assert bpb.target_bytes(tiny_corpus.tokenizer, tokens) == expected == tiny_corpus.manifest.text_bytes["dev"]
    assert bpb.bits_per_byte(12.5, 7) == pytest.approx(bits_per_byte(12.5, 7))

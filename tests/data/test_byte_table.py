"""Tests of the byte table: it counts the bytes of the text, for SentencePiece and for pure bytes."""

import json

import numpy as np
import pytest
import sentencepiece
from helpers.tiny_profile import ROOT

from data.byte_table import ByteTable

SHARED = ROOT.parent / "shared" / "data"


@pytest.mark.parametrize("source", ["pocket-like", "challenge"])
def test_the_byte_table_counts_the_bytes_of_the_text(tiny_corpus, source):
    """Encoding any text and counting gives the bytes of the text that the tokens decode to."""
    path = tiny_corpus.tokenizer if source == "pocket-like" else SHARED / "fineweb_1024_bpe.model"
    if not path.exists():
        pytest.skip("the challenge's tokenizer is not in ../shared/data")
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    table = ByteTable.from_tokenizer(path)
    for text in ("Hello, world 42", "naïve café – 日本語 🎉", "a", "tabs and   spaces", "word " * 50):
        tokens = np.array([model.bos_id(), *model.encode(text)], dtype=np.uint16)
        decoded = model.decode(tokens[1:].tolist())
        assert table.target_bytes(tokens).sum() == len(decoded.encode("utf-8"))


def test_a_space_counts_only_after_text(tiny_corpus):
    table = tiny_corpus.byte_table()
    word = int(np.flatnonzero(table.leading_space)[0])
    bos, plain = 1, int(np.flatnonzero(~table.leading_space & ~table.boundary)[-1])
    assert table.target_bytes(np.array([plain, word], dtype=np.uint16))[0] == table.base[word] + 1
    assert table.target_bytes(np.array([bos, word], dtype=np.uint16))[0] == table.base[word]
    assert table.target_bytes(np.array([plain, bos], dtype=np.uint16))[0] == 0


def test_the_byte_variant_counts_one_byte_a_token(tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_text(json.dumps({"tokenizer_type": "pure_byte"}))
    table = ByteTable.from_tokenizer(path)
    assert table.vocab_size == 260
    text = "naïve ▁ text".encode()
    tokens = np.array([1, *(byte + 4 for byte in text)], dtype=np.uint16)
    assert table.target_bytes(tokens).sum() == len(text)

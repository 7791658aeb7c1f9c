"""Shards, the byte table and the corpus."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from support import ROOT

from data import build, pocket
from data.byte_table import ByteTable
from data.corpus import Corpus
from data.errors import DataError
from data.shards import HEADER_BYTES, read_shard, write_shard

SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "fineweb_val_000000.bin"
    write_shard(path, np.arange(100))
    return path


def test_a_shard_round_trips(shard):
    assert np.array_equal(read_shard(shard), np.arange(100))
    assert shard.stat().st_size == HEADER_BYTES + 200


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda blob: blob[:500], "expected a header of 1024 bytes, found 500"),
        (lambda blob: b"\0" * 4 + blob[4:], "expected magic 20240520, found 0"),
        (lambda blob: blob[:4] + b"\2\0\0\0" + blob[8:], "expected version 1, found 2"),
        (lambda blob: blob[:-1], "expected 1224 bytes for 100 tokens, found 1223"),
        (lambda blob: blob + b"xx", "expected 1224 bytes for 100 tokens, found 1226"),
    ],
)
def test_a_damaged_shard_names_file_expected_and_found(shard, harm, words):
    shard.write_bytes(harm(shard.read_bytes()))
    with pytest.raises(DataError, match=words) as caught:
        read_shard(shard)
    assert str(shard) in str(caught.value)


def test_tokens_beyond_the_vocabulary_are_named(shard):
    with pytest.raises(DataError, match="below 64, found 99"):
        read_shard(shard, 64)
    with pytest.raises(DataError, match="65536"):
        write_shard(shard, np.array([65536]))


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


def test_splits_are_fixed_disjoint_and_complete():
    documents = {f"doc{i}": "x" * (i % 50 + 1) for i in range(1000)}
    names = build.split_documents(documents)
    assert names == build.split_documents(dict(reversed(documents.items())))
    assert sorted(sum(names.values(), [])) == sorted(documents)
    total = sum(len(text) for text in documents.values())
    for split in ("dev", "validation"):
        assert sum(len(documents[name]) for name in names[split]) / total == pytest.approx(0.05, abs=0.005)


def test_each_document_begins_with_bos(tiny_corpus):
    for split in ("train", "dev", "validation"):
        tokens = tiny_corpus.tokens(split)
        assert tokens[0] == 1
        assert (tokens == 1).sum() >= 2
        assert not np.isin(tokens, [0, 2]).any()


def test_a_changed_corpus_is_noticed(tiny_corpus, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(tiny_corpus.folder, folder)
    (folder / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(DataError, match=r"tokenizer.model: expected sha256"):
        Corpus.open(folder, verify=True)
    with pytest.raises(DataError, match="SentencePiece"):
        Corpus.open(folder).byte_table()
    with pytest.raises(DataError, match="python -m data --help"):
        Corpus.open(tmp_path / "nothing")


def test_the_pocket_corpus_is_the_pinned_archives_text():
    corpus = Corpus.open(ROOT / "shards" / "pocket", verify=True)
    assert corpus.manifest.vocab_size == 1024
    if corpus.manifest.trials_can_read_text:
        pytest.skip("built offline from the installed Python's source")
    assert pocket.ARCHIVE_SHA256 in corpus.manifest.source
    shares = {split: count / sum(corpus.manifest.tokens.values()) for split, count in corpus.manifest.tokens.items()}
    assert shares["train"] == pytest.approx(0.9, abs=0.03)


@pytest.mark.slow
def test_the_offline_corpus_says_that_trials_can_read_it(tmp_path):
    command = [sys.executable, "-m", "data", "pocket", "--folder", str(tmp_path / "pocket"), "--offline"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    corpus = Corpus.open(tmp_path / "pocket", verify=True)
    assert corpus.manifest.trials_can_read_text
    assert not Path(tmp_path / "pocket.part").exists()

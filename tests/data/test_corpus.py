"""Tests of the corpus on disk: its streams, and files that its manifest does not describe."""

import shutil

import numpy as np
import pytest

from common.errors import DataError
from data.corpus import Corpus


def test_each_document_begins_with_bos(tiny_corpus):
    for split in ("train", "dev", "validation"):
        tokens = tiny_corpus.tokens(split)
        assert tokens[0] == 1
        assert (tokens == 1).sum() >= 2
        assert not np.isin(tokens, [0, 2]).any()


def test_a_changed_corpus_is_refused(tiny_corpus, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_corpus.folder, folder)
    (folder / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(DataError, match=r"tokenizer.model: expected sha256"):
        Corpus.open(folder, verify=True)
    with pytest.raises(DataError, match="SentencePiece"):
        Corpus.open(folder).byte_table()
    with pytest.raises(DataError, match="python -m data --help"):
        Corpus.open(tmp_path / "nothing")

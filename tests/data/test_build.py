"""Tests of building a corpus: the splits, and tokenizers that can or cannot encode its text."""

import gzip
import io
import json

import pytest
import sentencepiece
from helpers.text_files import prose

from common.errors import DataError
from data.build import load_tokenizer, split_documents, write_corpus


def test_splits_are_fixed_disjoint_and_complete():
    documents = {f"doc{i}": "x" * (i % 50 + 1) for i in range(1000)}
    names = split_documents(documents)
    assert names == split_documents(dict(reversed(documents.items())))
    assert sorted(sum(names.values(), [])) == sorted(documents)
    total = sum(len(text) for text in documents.values())
    for split in ("dev", "validation"):
        assert sum(len(documents[name]) for name in names[split]) / total == pytest.approx(0.05, abs=0.005)


def trained(byte_fallback=True, **settings):
    """Return a serialized SentencePiece model of 300 pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([prose(number) for number in range(60)]),
        model_writer=model,
        vocab_size=300,
        byte_fallback=byte_fallback,
        hard_vocab_limit=False,
        minloglevel=2,
        **settings,
    )
    return model.getvalue()


def test_a_run_of_unknown_characters_is_one_token_and_many_bytes(tmp_path):
    texts = {f"{number}": prose(number) for number in range(600)}
    texts["1"] += " " + "語" * 1000
    with pytest.raises(DataError, match=r"1 of .* tokens, 3,000 bytes of text, are unknown"):
        write_corpus(tmp_path, "bad", texts, trained(False, model_type="bpe"), "test", False)


def test_a_tokenizer_that_cannot_encode_the_text_is_refused(tmp_path):
    """Unknown characters count no bytes: every score of such a corpus would be too good."""
    texts = {f"{number}": prose(number) + " ñ" * 5 for number in range(60)}
    with pytest.raises(DataError, match=r"are unknown to it, expected at most 0.1%"):
        write_corpus(tmp_path, "bad", texts, trained(False, model_type="bpe"), "test", False)
    few = {name: text.replace(" ñ", "", 5 if int(name) else 4) for name, text in texts.items()}
    (tmp_path / "few").mkdir()
    write_corpus(tmp_path / "few", "few", few, trained(False, model_type="bpe"), "test", False)
    manifest = json.loads((tmp_path / "few" / "manifest.json").read_text())
    assert 0 < manifest["unknown_tokens"] <= 2


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("no_bos.model", lambda: trained(bos_id=-1), "without BOS"),
        ("tokenizer.json", lambda: b'{"version":"1.0","model":{"type":"BPE"}}', "Hugging Face"),
        ("gpt.tiktoken", lambda: b"IQ== 0\nIg== 1\n", "found text"),
        ("vocab.txt", lambda: b"[PAD]\n[UNK]\n", "found text"),
        ("t.model.gz", lambda: gzip.compress(trained()), "another format"),
        ("cut.model", lambda: trained()[:1000], "expected a SentencePiece model"),
        ("missing.model", lambda: None, "no such file"),
    ],
)
def test_a_tokenizer_of_another_kind_is_named(tmp_path, name, content, words):
    if (raw := content()) is not None:
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError, match=words) as caught:
        load_tokenizer(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("kind", ["unigram", "char"])
def test_any_sentencepiece_with_bos_is_accepted(tmp_path, kind):
    (tmp_path / "t.model").write_bytes(trained(model_type=kind))
    load_tokenizer(tmp_path / "t.model")

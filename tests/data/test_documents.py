"""Text as people have it: every file is read as what it is, mended and said, skipped and said, or refused and said."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import os
import random
import subprocess
import sys

import pytest
import sentencepiece
import zstandard
from support import ROOT

from data import documents
from data.build import load_tokenizer, split_documents, write_corpus
from data.documents import MENDED, SKIPPED, pieces, survey
from data.errors import DataError
from data.text_files import decoded

WORDS = [f"word{i}" for i in range(400)]


def prose(seed, words=150):
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def lines(*texts):
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def packed(raw, suffix):
    made = {
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
        ".zst": zstandard.ZstdCompressor().compress,
        "": bytes,
    }
    return made[suffix](raw)


@pytest.fixture
def folder(tmp_path):
    """Enough ordinary text that no other file is large."""
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_text(prose(number))
    return folder


def notes(folder, verdict):
    return {reason: places for (what, reason), places in survey(folder).notes.items() if what == verdict}


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_byte_order_mark_is_read_as_what_it_says(folder, mark, encoding, suffix):
    text = "naïve — 日本語 🎉\nsecond line"
    (folder / f"a.txt{suffix}").write_bytes(packed(mark + text.encode(encoding), suffix))
    (folder / f"b.jsonl{suffix}").write_bytes(packed(mark + lines("Größe").encode(encoding), suffix))
    reading = survey(folder)
    assert reading.documents[f"a.txt{suffix}"] == text
    assert reading.documents[f"b.jsonl{suffix}:1"] == "Größe"
    assert {place for places in notes(folder, MENDED).values() for place in places} >= {f"a.txt{suffix}"}
    assert not reading.refused


@pytest.mark.parametrize(
    ("name", "raw", "place", "words"),
    [
        ("latin.txt", "ok\nna\xefve".encode("latin-1"), "latin.txt, line 2", "0xef is no UTF-8"),
        ("cp1252.jsonl", b'{"text": "ok"}\n{"text": "\x93quoted\x94"}\n', "cp1252.jsonl, line 2", "0x93 is no UTF-8"),
        ("unmarked.txt", "one\ntwo".encode("utf-16-le"), "unmarked.txt, line 1", "NUL"),
        ("program.md", b"ELF\n\0\1\2", "program.md, line 2", "NUL"),
        ("odd.txt", codecs.BOM_UTF16_LE + b"a\0b", "odd.txt, line 1", "though its mark says so"),
        ("half.jsonl", b'{"text": "\\ud800"}', "half.jsonl, line 1", "surrogate"),
        ("null.jsonl", b'{"text": "a"}\n\n{"text": null}', "null.jsonl, line 3", "a text that is null"),
        ("list.ndjson", b'{"text": ["a"]}', "list.ndjson, line 1", "a text that is a list"),
        ("number.jsonl", b'{"text": 7}', "number.jsonl, line 1", "a text that is a number"),
        ("true.jsonl", b'{"text": true}', "true.jsonl, line 1", "a text that is a truth value"),
        ("string.jsonl", b'"text"', "string.jsonl, line 1", "found a string"),
        ("deep.jsonl", b"[" * 100_000, "deep.jsonl, line 1", "no JSON"),
        ("pretty.jsonl", b'{\n "text": "a"\n}', "pretty.jsonl, line 1", "no JSON"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(folder, name, raw, place, words):
    (folder / name).write_bytes(raw)
    with pytest.raises(DataError) as caught:
        documents.read(folder)
    assert place in str(caught.value)
    assert words in str(caught.value)
    assert len(survey(folder).documents) >= 40, "the others are read all the same"


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_archives_are_read_whole_or_refused(folder, suffix):
    raw = lines(*(prose(number) for number in range(100, 160))).encode()
    archive = packed(raw, suffix)
    file = folder / f"Rest.JSONL{suffix.upper()}"
    file.write_bytes(archive)
    assert len(documents.read(folder)) == 100
    file.write_bytes(packed(raw[:400], suffix) + packed(raw[400:], suffix))  # as `cat` and parallel tools make them
    assert len(documents.read(folder)) == 100
    for harmed, words in (
        (archive[:-9], "ends early"),
        (archive[: len(archive) // 2], "ends early"),
        (b"", "ends early"),
        (b"hello", "no .* file, or a damaged one"),
    ):
        file.write_bytes(harmed)
        with pytest.raises(DataError, match=words):
            documents.read(folder)


def test_archives_of_other_makers_are_read(folder):
    """A window of 2 GiB, as `zstd --long=31` and the Reddit dumps have it; padding, as from tapes."""
    raw = lines(prose(100)).encode()
    long = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=28))
    (folder / "a.jsonl.zst").write_bytes(long.compress(raw + b"\n"))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines(prose(101)).encode()) + bytes(512))
    (folder / "c.jsonl.xz").write_bytes(lzma.compress(lines(prose(102)).encode()) + bytes(4))
    assert len(documents.read(folder)) == 43


def test_two_names_that_look_the_same_are_two_documents(folder):
    (folder / os.fsdecode(b"\xff.txt")).write_text("one text")
    (folder / "\\xff.txt").write_text("another text")
    assert len(documents.read(folder)) == 42


def test_all_that_is_not_read_is_said_with_a_count(folder):
    for name in ("a.png", "B.PNG", "README", ".hidden.txt", "archive.zip", "c.txt.lz4"):
        (folder / name).write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git" / "a.txt").write_text("x")
    (folder / "link.txt").symlink_to("0.txt")
    (folder / "loop").symlink_to(".")
    (folder / "empty.txt").write_text(" \n")
    os.mkfifo(folder / "pipe.txt")
    found = notes(folder, SKIPPED)
    counts = {reason.partition(",")[0]: len(places) for reason, places in found.items()}
    assert counts == {
        ".png": 2, "no suffix": 1, "hidden file": 1, "hidden folder": 1, ".zip": 1, ".lz4": 1, "link": 2,
        "without text": 1, "neither file nor folder": 1,
    }  # fmt: skip
    assert len(documents.read(folder)) == 40


def test_names_of_any_kind_are_taken(folder):
    name = os.fsdecode(b"caf\xe9.TXT")
    (folder / name).write_text("other text")
    (folder / "Üb [1]\n.Md").write_text("third text")
    found = documents.read(folder)
    assert len(found) == 42
    assert all(name.encode() for name in found)


def test_documents_that_repeat_stand_in_no_two_splits(folder):
    for number in range(40):
        text = prose(number)
        for copy, other in enumerate([text, text + "\n", f" {text}".replace(" ", "  "), text.replace("word", "ｗord")]):
            (folder / f"{number}_{copy}.md").write_text(other)
    (folder / "all.jsonl").write_text(lines(*(prose(number) for number in range(40))))
    reading = survey(folder)
    assert len(reading.documents) == 40
    assert reading.repeats == 200
    splits = split_documents(reading.documents)
    seen = [{reading.documents[name] for name in names} for names in splits.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 40


def test_large_documents_that_repeat_stand_in_no_two_splits(tmp_path):
    """Whatever their spaces: repeats go before anything is cut, and ten copies of one book are one book."""
    book = "\n\n".join(prose(number) for number in range(300))
    for copy in range(10):
        (tmp_path / f"{copy}.txt").write_text(book.replace(" ", " " * (1 + copy % 3)))
    reading = survey(tmp_path)
    assert reading.repeats == 9
    splits = split_documents(reading.documents)
    words = [{" ".join(reading.documents[name].split()) for name in names} for names in splits.values()]
    assert sum(map(len, words)) == len(set.union(*words))
    assert "".join(reading.documents.values()) == (tmp_path / "0.txt").read_text()


@pytest.mark.parametrize("joint", ["\n\n", "\n", " ", ""])
def test_one_big_file_is_cut(tmp_path, joint):
    words = random.Random(1).choices("abcdefghij", k=200_000)
    text = joint.join("".join(words[start : start + 100]) for start in range(0, len(words), 100))
    assert "".join(pieces(text, 1000)) == text
    assert {len(piece) <= 1000 for piece in pieces(text, 1000)} == {True}
    (tmp_path / "big.txt").write_text(text)
    reading = survey(tmp_path)
    assert "".join(reading.documents.values()) == text
    assert all(split_documents(reading.documents).values())
    assert any("cut into pieces" in reason for reason in notes(tmp_path, MENDED))


def test_one_file_is_as_good_as_a_folder(tmp_path):
    for name in ("big.txt", "big", "big.md.gz"):
        raw = "\n".join(prose(number) for number in range(200)).encode()
        (tmp_path / name).write_bytes(packed(raw, ".gz" if name.endswith(".gz") else ""))
        assert all(split_documents(survey(tmp_path / name).documents).values())
    (tmp_path / "a.jsonl").write_text(lines(*(prose(number) for number in range(30))))
    assert len(documents.read(tmp_path / "a.jsonl")) == 30
    with pytest.raises(DataError, match="found nothing"):
        documents.read(tmp_path / "none")


def test_line_ends_are_one(tmp_path):
    assert decoded(b"a\r\nb\rc\n")[0] == "a\nb\nc\n"


def trained(unknown_fallback=True, **settings):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([prose(number) for number in range(60)]),
        model_writer=model,
        vocab_size=300,
        byte_fallback=unknown_fallback,
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


def test_a_tokenizer_that_cannot_write_the_text_is_refused(tmp_path):
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
def test_a_tokenizer_of_another_kind_is_named(tmp_path, folder, name, content, words):
    if made := content():
        (tmp_path / name).write_bytes(made)
    with pytest.raises(DataError, match=words) as caught:
        load_tokenizer(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("kind", ["unigram", "char"])
def test_any_sentencepiece_with_bos_is_taken(tmp_path, kind):
    (tmp_path / "t.model").write_bytes(trained(model_type=kind))
    load_tokenizer(tmp_path / "t.model")


def test_a_new_users_folder(folder, tmp_path):
    """One file of each kind of bad text: one table, one line of what to do, and nothing written before it is done."""
    (folder / "old.txt").write_bytes("Ärger mit alten Dateien".encode("latin-1"))
    (folder / "windows.txt").write_bytes("﻿from an editor\r\nof another system".encode("utf-16"))
    (folder / "dump.jsonl").write_text(lines(prose(100), prose(101)) + '{"text": null}\n')
    (folder / "cut.txt.gz").write_bytes(gzip.compress(prose(102).encode())[:-20])
    (folder / "scan.pdf").write_bytes(b"%PDF")
    (folder / "copy.txt").write_text(prose(1))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "data", "tokenize", str(folder), "--out", str(out), "--vocab-size", "300"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert not out.exists()
    assert done.stderr.count("\n") == 1
    assert "--skip-refused" in done.stderr
    verdicts = [line.split()[0] for line in done.stdout.splitlines()]
    assert verdicts == ["taken", "mended", "skipped", "skipped", "refused", "refused", "refused"]
    done = subprocess.run([*command, "--skip-refused"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "43 documents of text; " in done.stdout.splitlines()[-1]
    assert "bytes of text; tokens: dev" in done.stdout.splitlines()[-1]

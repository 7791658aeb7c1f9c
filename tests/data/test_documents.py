"""Tests of reading a folder of text: every file is taken, fixed, skipped or refused, and reported."""

import os
import random

import pytest
from helpers.text_files import compressed, json_lines, notes, prose

from common.errors import DataError
from data import documents
from data.build import split_documents
from data.documents import FIXED, SKIPPED, cut, survey


def test_names_that_print_the_same_are_two_documents(text_folder):
    (text_folder / os.fsdecode(b"\xff.txt")).write_text("one text")
    (text_folder / "\\xff.txt").write_text("another text")
    assert len(documents.read(text_folder)) == 42


def test_skipped_files_are_reported_with_a_count(text_folder):
    for name in ("a.png", "B.PNG", "README", ".hidden.txt", "archive.zip", "c.txt.lz4"):
        (text_folder / name).write_text("x")
    (text_folder / ".git").mkdir()
    (text_folder / ".git" / "a.txt").write_text("x")
    (text_folder / "link.txt").symlink_to("0.txt")
    (text_folder / "loop").symlink_to(".")
    (text_folder / "empty.txt").write_text(" \n")
    os.mkfifo(text_folder / "pipe.txt")
    counts = {reason.partition(",")[0]: len(names) for reason, names in notes(text_folder, SKIPPED).items()}
    assert counts == {
        ".png": 2, "no suffix": 1, "hidden file": 1, "hidden folder": 1, ".zip": 1, ".lz4": 1, "link": 2,
        "without text": 1, "neither file nor folder": 1,
    }  # fmt: skip
    assert len(documents.read(text_folder)) == 40


def test_file_names_of_any_kind_are_taken(text_folder):
    name = os.fsdecode(b"caf\xe9.TXT")
    (text_folder / name).write_text("other text")
    (text_folder / "Üb [1]\n.Md").write_text("third text")
    texts = documents.read(text_folder)
    assert len(texts) == 42
    assert all(name.encode() for name in texts)


def test_duplicates_never_end_up_in_two_splits(text_folder):
    for number in range(40):
        text = prose(number)
        for copy, other in enumerate([text, text + "\n", f" {text}".replace(" ", "  "), text.replace("word", "ｗord")]):
            (text_folder / f"{number}_{copy}.md").write_text(other)
    (text_folder / "all.jsonl").write_text(json_lines(*(prose(number) for number in range(40))))
    reading = survey(text_folder)
    assert len(reading.documents) == 40
    assert reading.duplicates == 200
    splits = split_documents(reading.documents)
    seen = [{reading.documents[name] for name in names} for names in splits.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 40


def test_duplicates_of_large_documents_never_end_up_in_two_splits(tmp_path):
    """Duplicates are dropped before anything is cut: ten copies of a book, differing in spaces, are one book."""
    book = "\n\n".join(prose(number) for number in range(300))
    for copy in range(10):
        (tmp_path / f"{copy}.txt").write_text(book.replace(" ", " " * (1 + copy % 3)))
    reading = survey(tmp_path)
    assert reading.duplicates == 9
    splits = split_documents(reading.documents)
    words = [{" ".join(reading.documents[name].split()) for name in names} for names in splits.values()]
    assert sum(map(len, words)) == len(set.union(*words))
    assert "".join(reading.documents.values()) == (tmp_path / "0.txt").read_text()


@pytest.mark.parametrize("joint", ["\n\n", "\n", " ", ""])
def test_a_large_file_is_cut(tmp_path, joint):
    words = random.Random(1).choices("abcdefghij", k=200_000)
    text = joint.join("".join(words[start : start + 100]) for start in range(0, len(words), 100))
    assert "".join(cut(text, 1000)) == text
    assert {len(piece) <= 1000 for piece in cut(text, 1000)} == {True}
    (tmp_path / "big.txt").write_text(text)
    reading = survey(tmp_path)
    assert "".join(reading.documents.values()) == text
    assert all(split_documents(reading.documents).values())
    assert any("cut into pieces" in reason for reason in notes(tmp_path, FIXED))


def test_a_single_file_is_read_like_a_folder(tmp_path):
    for name in ("big.txt", "big", "big.md.gz"):
        raw = "\n".join(prose(number) for number in range(200)).encode()
        (tmp_path / name).write_bytes(compressed(raw, ".gz" if name.endswith(".gz") else ""))
        assert all(split_documents(survey(tmp_path / name).documents).values())
    (tmp_path / "a.jsonl").write_text(json_lines(*(prose(number) for number in range(30))))
    assert len(documents.read(tmp_path / "a.jsonl")) == 30
    with pytest.raises(DataError, match="found nothing"):
        documents.read(tmp_path / "none")


@pytest.mark.parametrize("line", ["[1]", "{", '{"txt": 1}'])
def test_a_malformed_line_is_named(tmp_path, line):
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n' + line + "\n")
    with pytest.raises(DataError, match=r"a.jsonl, line 2: expected"):
        documents.read(tmp_path)

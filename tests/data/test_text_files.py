"""Tests of reading one file: byte order marks, compression, line ends, and bytes that are not text."""

import codecs
import gzip
import lzma

import pytest
import zstandard
from helpers.text_files import compressed, json_lines, notes, prose

from common.errors import DataError
from data import documents
from data.documents import FIXED, survey
from data.text_files import decode


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
def test_text_is_decoded_by_its_byte_order_mark(text_folder, mark, encoding, suffix):
    text = "naïve — 日本語 🎉\nsecond line"
    (text_folder / f"a.txt{suffix}").write_bytes(compressed(mark + text.encode(encoding), suffix))
    (text_folder / f"b.jsonl{suffix}").write_bytes(compressed(mark + json_lines("Größe").encode(encoding), suffix))
    reading = survey(text_folder)
    assert reading.documents[f"a.txt{suffix}"] == text
    assert reading.documents[f"b.jsonl{suffix}:1"] == "Größe"
    assert f"a.txt{suffix}" in {name for names in notes(text_folder, FIXED).values() for name in names}
    assert not reading.refused


@pytest.mark.parametrize(
    ("name", "raw", "location", "words"),
    [
        ("latin.txt", "ok\nna\xefve".encode("latin-1"), "latin.txt, line 2", "0xef is not UTF-8"),
        ("cp1252.jsonl", b'{"text": "ok"}\n{"text": "\x93quoted\x94"}\n', "cp1252.jsonl, line 2", "0x93 is not UTF-8"),
        ("unmarked.txt", "one\ntwo".encode("utf-16-le"), "unmarked.txt, line 1", "NUL"),
        ("program.md", b"ELF\n\0\1\2", "program.md, line 2", "NUL"),
        ("odd.txt", codecs.BOM_UTF16_LE + b"a\0b", "odd.txt, line 1", "although its mark says so"),
        ("half.jsonl", b'{"text": "\\ud800"}', "half.jsonl, line 1", "surrogate"),
        ("null.jsonl", b'{"text": "a"}\n\n{"text": null}', "null.jsonl, line 3", "a text that is null"),
        ("list.ndjson", b'{"text": ["a"]}', "list.ndjson, line 1", "a text that is a list"),
        ("number.jsonl", b'{"text": 7}', "number.jsonl, line 1", "a text that is a number"),
        ("true.jsonl", b'{"text": true}', "true.jsonl, line 1", "a text that is a truth value"),
        ("string.jsonl", b'"text"', "string.jsonl, line 1", "found a string"),
        ("deep.jsonl", b"[" * 100_000, "deep.jsonl, line 1", "found invalid JSON"),
        ("pretty.jsonl", b'{\n "text": "a"\n}', "pretty.jsonl, line 1", "found invalid JSON"),
    ],
)
def test_a_file_that_is_not_text_is_refused_with_its_location(text_folder, name, raw, location, words):
    (text_folder / name).write_bytes(raw)
    with pytest.raises(DataError) as caught:
        documents.read(text_folder)
    assert location in str(caught.value)
    assert words in str(caught.value)
    assert len(survey(text_folder).documents) >= 40, "all other files are still read"


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_compressed_files_are_read_whole_or_refused(text_folder, suffix):
    raw = json_lines(*(prose(number) for number in range(100, 160))).encode()
    archive = compressed(raw, suffix)
    file = text_folder / f"Rest.JSONL{suffix.upper()}"
    file.write_bytes(archive)
    assert len(documents.read(text_folder)) == 100
    file.write_bytes(compressed(raw[:400], suffix) + compressed(raw[400:], suffix))  # as from `cat`
    assert len(documents.read(text_folder)) == 100
    for damaged, words in (
        (archive[:-9], "ends early"),
        (archive[: len(archive) // 2], "ends early"),
        (b"", "ends early"),
        (b"hello", "not a .* file, or a damaged one"),
    ):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=words):
            documents.read(text_folder)


def test_compressed_files_of_other_tools_are_read(text_folder):
    """A window of 2 GiB, as `zstd --long=31` and the Reddit dumps have it; padding, as from tapes."""
    raw = json_lines(prose(100)).encode()
    long = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=28))
    (text_folder / "a.jsonl.zst").write_bytes(long.compress(raw + b"\n"))
    (text_folder / "b.jsonl.gz").write_bytes(gzip.compress(json_lines(prose(101)).encode()) + bytes(512))
    (text_folder / "c.jsonl.xz").write_bytes(lzma.compress(json_lines(prose(102)).encode()) + bytes(4))
    assert len(documents.read(text_folder)) == 43


def test_line_ends_become_lf():
    assert decode(b"a\r\nb\rc\n")[0] == "a\nb\nc\n"

"""Tests of `python -m data tokenize` on real files, in a process of its own."""

import gzip
import json
import subprocess
import sys

from helpers.text_files import json_lines, one_line, prose
from helpers.tiny_profile import ROOT

from data import documents
from data.corpus import Corpus
from data.shards import read_shard


def test_tokenize_takes_files_and_json_lines(tmp_path):
    source = tmp_path / "text"
    (source / "deep").mkdir(parents=True)
    words = " ".join(f"word{i} and more of it" for i in range(300))  # longer than the trainer takes by default
    for i in range(20):
        (source / "deep" / f"{i}.md").write_text(f"file {i}. {words}")
    (source / "lines.jsonl").write_text("".join(json.dumps({"text": f"line {i}. {words}"}) + "\n" for i in range(20)))
    (source / "link.txt").symlink_to("/etc/passwd")
    command = [sys.executable, "-m", "data", "tokenize", str(source), "--out", str(tmp_path / "out"), "--vocab-size"]
    done = subprocess.run([*command, "400"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    corpus = Corpus.open(tmp_path / "out", verify=True)
    assert len(documents.read(source)) == 40
    assert sum(int((corpus.tokens(split) == 1).sum()) for split in corpus.manifest.tokens) == 40
    assert not corpus.manifest.trials_can_read_text
    assert len(read_shard(corpus.shards("train")[0])) == corpus.manifest.tokens["train"]


def test_tokenize_replaces_nothing_but_a_corpus(tmp_path):
    source = tmp_path / "notes"
    source.mkdir()
    (source / "thesis.txt").write_text("years of work")
    other = tmp_path / "other"
    other.mkdir()
    (other / "photo.jpg").write_text("irreplaceable")
    for out in (source, source / "deep", tmp_path, other):
        command = [sys.executable, "-m", "data", "tokenize", str(source), "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert "expected" in one_line(done)
    assert (source / "thesis.txt").exists()
    assert (other / "photo.jpg").exists()


def test_bad_files_are_reported_and_nothing_is_written(text_folder, tmp_path):
    """One file for each kind of bad text: a table, one line that says what to do, and nothing written until then."""
    (text_folder / "old.txt").write_bytes("Ärger mit alten Dateien".encode("latin-1"))
    (text_folder / "windows.txt").write_bytes("﻿from an editor\r\nof another system".encode("utf-16"))
    (text_folder / "dump.jsonl").write_text(json_lines(prose(100), prose(101)) + '{"text": null}\n')
    (text_folder / "cut.txt.gz").write_bytes(gzip.compress(prose(102).encode())[:-20])
    (text_folder / "scan.pdf").write_bytes(b"%PDF")
    (text_folder / "copy.txt").write_text(prose(1))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "data", "tokenize", str(text_folder), "--out", str(out), "--vocab-size", "300"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert not out.exists()
    assert done.stderr.count("\n") == 1
    assert "--skip-refused" in done.stderr
    verdicts = [line.split()[0] for line in done.stdout.splitlines()]
    assert verdicts == ["taken", "fixed", "skipped", "skipped", "refused", "refused", "refused"]
    done = subprocess.run([*command, "--skip-refused"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "43 documents of text; " in done.stdout.splitlines()[-1]
    assert "bytes of text; tokens: dev" in done.stdout.splitlines()[-1]

"""Tests of reading a record folder: logs with prefixes, compressed or encoded logs, unreadable files and links."""

import codecs
import gzip
import lzma

import pytest
import zstandard

from preflight.records import check
from preflight.records.folder import MAX_FILE_BYTES

PREFIXES = (
    *("1776000000.5 ", "2026-04-01 12:00:00,123 ", "[2026-04-01T12:00:00Z] INFO: ", "2026-04-01 12:00:00 - INFO - "),
    *(
        "INFO:root:",
        "2026-04-01 12:00:00 | INFO | ",
        "[2026-04-01 12:00:00,123][train][INFO] - ",
        "wandb: ",
        "12:00:00 ",
    ),
    *("[12:00:01] ", "2026/04/01 12:00:00 ", "(main, pid=1) ", "(worker pid=123, ip=10.0.0.1) "),
    *("[rank0]: ", "[default0]:", "0: ", "trainer-1  | ", "\x1b[32m", "[rank0]: 2026-04-01 12:00:00.5 "),
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_log_is_read_with_any_prefix(folder, prefix):
    for path in folder.glob("*.log"):
        path.write_text("".join(f"{prefix}{line}\x1b[0m\n" for line in path.read_text().splitlines()))
    record = check.check(folder)
    assert not record.findings
    assert len(record.claimed) == 3


STORED = {
    "seed7.log": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "seed7.out": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "train_seed7.log.gz": lambda text: gzip.compress(text.encode()),
    "train_seed7.txt.zst": lambda text: zstandard.ZstdCompressor().compress(text.encode()),
    "train_seed7.LOG.XZ": lambda text: lzma.compress(text.encode()),
    "slurm-123.out": str.encode,
    "log": str.encode,
    "train_seed7.log.1": str.encode,
}


@pytest.mark.parametrize("name", STORED)
def test_a_log_is_read_from_any_file_format(folder, name):
    path = folder / "train_seed7.log"
    text = path.read_text()
    path.unlink()
    (folder / name).write_bytes(STORED[name](text.replace("\n", "\r\n") if "16" in name else text))
    record = check.check(folder)
    assert not record.findings
    assert name in record.claimed


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train_seed7.log.gz", gzip.compress(b"x" * 1000, mtime=0)[:-12], "ends early"),
        ("train_seed7.log.zip", b"PK\3\4\0\0", "not text, not read"),
        ("train_seed7.log", "a\nb".encode("utf-16-le"), "not text, not read"),
        (
            "bomb.log.gz",
            gzip.compress(bytes(MAX_FILE_BYTES + 2048), mtime=0),
            "more than 67,108,864 bytes, unpacked",
        ),
    ],
)
def test_the_reason_that_a_log_cannot_be_read_is_noted(folder, name, content, words):
    (folder / name).write_bytes(content)
    assert any(note.startswith(name) and words in note for note in check.check(folder).notes)


def test_links_are_not_followed(folder, tmp_path):
    secret = tmp_path / "secret.log"
    secret.write_text("final_x val_loss:1.0 val_bpb:1.0\n")
    (folder / "extra.log").symlink_to(secret)
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(secret)
    record = check.check(folder)
    assert "extra.log" not in record.logs
    assert {finding.rule for finding in record.findings} == {"files"}

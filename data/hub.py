"""Files of a dataset on the Hugging Face hub, each fetched to its one copy on disk and checked before it counts."""

import errno
import os
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]
from tqdm import tqdm

from data.corpus import file_sha256
from data.errors import DataError
from data.network import require_usable
from data.shards import read_shard

ATTEMPTS = 3  # each of which the client itself tries five times
PAUSE_SECONDS = 1.0  # after the first, four times as long after the next
PARTIAL = ".partial"  # below the corpus: what has not been checked yet
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Remote:
    """One file on the hub and where it goes."""

    path: str  # in the repository
    name: str  # in the corpus
    size: int
    sha256: str | None  # the hub lists it for large files


class Progress:
    """What a download reports to: total bytes once, then bytes as they come. This one keeps quiet."""

    def start(self, total_bytes: int) -> None: ...

    def advance(self, bytes_count: int) -> None: ...

    def say(self, line: str) -> None: ...


@dataclass(frozen=True)
class Repository:
    """A dataset at one revision, and the corpus folder its files go to."""

    name: str
    revision: str
    folder: Path
    progress: Progress

    @classmethod
    def open(cls, name: str, folder: Path, progress: Progress) -> "Repository":
        """The newest revision; raises DataError where the hub does not answer."""
        require_usable()
        huggingface_hub.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # `progress` is told
        return cls(name, str(ask(lambda: huggingface_hub.HfApi().dataset_info(name).sha, progress)), folder, progress)

    def listed(self, names: dict[str, str]) -> list[Remote]:
        """Size and checksum of every path in `names`, a map from path to name."""
        api = huggingface_hub.HfApi()
        found = ask(
            lambda: api.get_paths_info(self.name, list(names), revision=self.revision, repo_type="dataset"),
            self.progress,
        )
        files = {item.path: item for item in found if isinstance(item, huggingface_hub.RepoFile)}
        if missing := names.keys() - files.keys():
            raise DataError(f"{self.name}: expected {min(missing)} as its manifest says, found no such file")
        return [
            Remote(path, name, files[path].size, lfs.sha256 if (lfs := files[path].lfs) else None)
            for path, name in names.items()
        ]

    def fetch(self, remotes: list[Remote]) -> None:
        """All files that are not there yet, one after another."""
        missing = [remote for remote in remotes if not self._is_here(remote)]
        carved = remotes[-1].size  # the last training shard is written once more, cut
        needed, free = sum(remote.size for remote in missing), shutil.disk_usage(self.folder).free
        if needed + carved > free:
            needs = f"needs {(needed + carved) / 1e9:.2f} GB, {free / 1e9:.2f} GB are free"
            raise DataError(f"{self.folder}: {needs}; make room or ask for fewer --train-shards")
        self.progress.start(needed)
        for remote in missing:
            self._fetch(remote)
        shutil.rmtree(self.folder / PARTIAL, ignore_errors=True)

    def read(self, path: str) -> str:
        """A small text file."""
        return self._download(path, Progress()).read_text(encoding="utf-8", errors="replace")

    def _fetch(self, remote: Remote) -> None:
        """One file to its place; a second download from scratch if the first has the wrong content."""
        for last in (False, True):
            path = self._download(remote.path, self.progress)
            problem = problem_of(path, remote)
            if not problem:
                target = self.folder / remote.name
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
                return
            path.unlink()
            if last:
                raise DataError(f"{remote.path}: {problem}, twice; the copy on the hub or on the way is damaged")
            self.progress.say(f"{remote.path}: {problem}; fetched again")

    def _is_here(self, remote: Remote) -> bool:
        path = self.folder / remote.name
        return path.is_file() and not problem_of(path, remote)

    def _download(self, path: str, progress: Progress) -> Path:
        """A file below the partial folder, gone on with where a connection broke."""

        class Bar(tqdm):  # type: ignore[misc]
            """huggingface_hub reports to a tqdm; this one passes it on and draws nothing."""

            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **{**options, "disable": True})

            def update(self, n: float | None = 1) -> None:
                progress.advance(int(n or 0))

        def question() -> str:
            return huggingface_hub.hf_hub_download(
                self.name,
                path,
                repo_type="dataset",
                revision=self.revision,
                local_dir=self.folder / PARTIAL,
                tqdm_class=Bar,
            )

        return Path(ask(question, self.progress))


def ask(question: Callable[[], Answer], progress: Progress) -> Answer:
    """An answer from the hub, or a DataError; a connection that breaks is tried again, after growing pauses."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of a full disk, say: our own line follows
                return question()
        except (HTTPError, OSError, RuntimeError, ValueError) as error:  # a stream that broke off, a page for an answer
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
            if getattr(error, "errno", None) in DISK_FULL:
                raise DataError("the disk is full; make room and start again: what has come is kept") from error
            if attempt == ATTEMPTS or (400 <= status < 500 and status != 429):
                raise DataError(f"{endpoint}: {reason}; start again to go on") from error
            progress.say(f"{reason}; attempt {attempt + 1} of {ATTEMPTS}")
        time.sleep(PAUSE_SECONDS * 4 ** (attempt - 1))
    raise AssertionError("the last attempt returns or raises")


def problem_of(path: Path, remote: Remote) -> str:
    """What is wrong with a file's size, checksum or header; empty if nothing."""
    if (found := path.stat().st_size) != remote.size:
        return f"expected {remote.size} bytes, got {found}"
    if remote.sha256 and (digest := file_sha256(path)) != remote.sha256:
        return f"expected sha256 {remote.sha256[:16]}…, got {digest[:16]}…"
    if remote.name.endswith(".bin"):
        try:
            read_shard(path)
        except DataError as error:
            return str(error)
    return ""

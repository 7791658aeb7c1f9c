"""Download the files of a dataset on the Hugging Face hub, each verified before it becomes part of a corpus."""

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

from common.errors import DataError
from common.network import check_network_environment
from data.corpus import file_sha256
from data.shards import read_shard

ATTEMPTS = 3  # in each of which the client itself tries five times
PAUSE_SECONDS = 1.0  # after the first attempt, four times as long after the next
PARTIAL = ".partial"  # below the corpus: files that have not been verified yet
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Remote:
    """One file on the hub and its destination."""

    path: str  # in the repository
    name: str  # in the corpus
    size: int
    sha256: str | None  # the hub lists it only for large files


class Progress:
    """The receiver of a download's progress: the total once, then bytes as they arrive. This base class is silent."""

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
        """Open the newest revision; raise DataError if the hub does not answer."""
        check_network_environment()
        huggingface_hub.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # `progress` reports instead
        revision = with_retries(lambda: huggingface_hub.HfApi().dataset_info(name).sha, progress)
        return cls(name, str(revision), folder, progress)

    def list_files(self, names: dict[str, str]) -> list[Remote]:
        """Return size and checksum of every path in `names`, a map from repository path to name in the corpus."""
        api = huggingface_hub.HfApi()
        items = with_retries(
            lambda: api.get_paths_info(self.name, list(names), revision=self.revision, repo_type="dataset"),
            self.progress,
        )
        files = {item.path: item for item in items if isinstance(item, huggingface_hub.RepoFile)}
        if missing := names.keys() - files.keys():
            raise DataError(f"{self.name}: expected {min(missing)} as its manifest says, found no such file")
        return [
            Remote(path, name, files[path].size, lfs.sha256 if (lfs := files[path].lfs) else None)
            for path, name in names.items()
        ]

    def fetch(self, remotes: list[Remote]) -> None:
        """Download all files that are missing, one after another; raise DataError if the disk is too small for them."""
        missing = [remote for remote in remotes if not self._is_complete(remote)]
        last_shard = remotes[-1].size  # written a second time, shortened, when dev is carved from it
        needed, free = sum(remote.size for remote in missing), shutil.disk_usage(self.folder).free
        if needed + last_shard > free:
            needs = f"needs {(needed + last_shard) / 1e9:.2f} GB, {free / 1e9:.2f} GB are free"
            raise DataError(f"{self.folder}: {needs}; make room or ask for fewer --train-shards")
        self.progress.start(needed)
        for remote in missing:
            self._fetch(remote)
        shutil.rmtree(self.folder / PARTIAL, ignore_errors=True)

    def read(self, path: str) -> str:
        """Read a small text file."""
        return self._download(path, Progress()).read_text(encoding="utf-8", errors="replace")

    def _fetch(self, remote: Remote) -> None:
        """Download one file to its place; once more from scratch if the content is wrong."""
        for last in (False, True):
            path = self._download(remote.path, self.progress)
            problem = find_problem(path, remote)
            if not problem:
                target = self.folder / remote.name
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
                return
            path.unlink()
            if last:
                raise DataError(
                    f"{remote.path}: {problem}, twice; the copy on the hub is damaged, or the transfer damages it"
                )
            self.progress.say(f"{remote.path}: {problem}; downloading it again")

    def _is_complete(self, remote: Remote) -> bool:
        path = self.folder / remote.name
        return path.is_file() and not find_problem(path, remote)

    def _download(self, path: str, progress: Progress) -> Path:
        """Download a file below the partial folder, resuming where a connection broke."""

        class Bar(tqdm):  # type: ignore[misc]
            """A tqdm, which huggingface_hub reports to, that forwards progress and draws nothing."""

            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **{**options, "disable": True})

            def update(self, n: float | None = 1) -> None:
                progress.advance(int(n or 0))

        def request() -> str:
            return huggingface_hub.hf_hub_download(
                self.name,
                path,
                repo_type="dataset",
                revision=self.revision,
                local_dir=self.folder / PARTIAL,
                tqdm_class=Bar,
            )

        return Path(with_retries(request, self.progress))


def with_retries(request: Callable[[], Answer], progress: Progress) -> Answer:
    """Return the hub's answer or raise DataError; a broken connection is retried after growing pauses."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # such as of a full disk, which is reported below
                return request()
        except (HTTPError, OSError, RuntimeError, ValueError) as error:  # a broken stream, HTML instead of JSON
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
            if getattr(error, "errno", None) in DISK_FULL:
                raise DataError(
                    "the disk is full; make room and run the command again to continue the download"
                ) from error
            if attempt == ATTEMPTS or (400 <= status < 500 and status != 429):
                raise DataError(f"{endpoint}: {reason}; run the command again to continue the download") from error
            progress.say(f"{reason}; attempt {attempt + 1} of {ATTEMPTS}")
        time.sleep(PAUSE_SECONDS * 4 ** (attempt - 1))
    raise AssertionError("the last attempt returns or raises")


def find_problem(path: Path, remote: Remote) -> str:
    """Return the problem with a file's size, checksum or header; empty if there is none."""
    if (size := path.stat().st_size) != remote.size:
        return f"expected {remote.size} bytes, got {size}"
    if remote.sha256 and (digest := file_sha256(path)) != remote.sha256:
        return f"expected sha256 {remote.sha256[:16]}…, got {digest[:16]}…"
    if remote.name.endswith(".bin"):
        try:
            read_shard(path)
        except DataError as error:
            return str(error)
    return ""

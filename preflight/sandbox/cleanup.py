"""What jobs leave behind: their folders, and after a crash of the harness, processes that still run in them."""

import contextlib
import fcntl
import hashlib
import os
import subprocess
import time
from pathlib import Path

from data.errors import SandboxError
from preflight.sandbox import process_tree

PATIENCE_SECONDS, PAUSE_SECONDS = 60.0, 0.02
LOCK_NAME = "supervisor.lock"  # in a job's folder, held while the job's supervisor lives
WORKSPACE = ".job-"  # begins the name of a folder that one job sees


def clear(folder: Path) -> None:
    """Remove a folder in which a harness that was killed may have left jobs, once they are over.

    Raises SandboxError for a job that does not end.
    """
    for path, folders, files in os.walk(folder):
        if LOCK_NAME in files:  # the folder of a job; below it stands only what its candidate made
            folders.clear()
            _wait(Path(path) / LOCK_NAME)
            process_tree.end_marked(marker(Path(path)))  # a supervisor that was killed too leaves these
            _discard_workspace(Path(path) / LOCK_NAME)
    discard(folder)


def _discard_workspace(lock: Path) -> None:
    """The folder that a job saw, by what its harness wrote down; no candidate can write there."""
    with contextlib.suppress(OSError):
        if (workspace := Path(lock.read_text(encoding="utf-8", errors="surrogateescape"))).name.startswith(WORKSPACE):
            discard(workspace)


def _wait(lock: Path) -> None:
    """Until a job's supervisor is gone: it ends with its harness, and holds the lock until then."""
    try:
        held = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # a candidate's own file of that name, in a folder that was half removed
        return None
    try:
        for _ in range(int(PATIENCE_SECONDS / PAUSE_SECONDS)):
            try:
                return fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(PAUSE_SECONDS)
        raise SandboxError(f"{lock.parent}: a job of an earlier controller has not ended for {PATIENCE_SECONDS:g} s")
    finally:
        os.close(held)


def marker(folder: Path) -> str:
    """In the environment of every process of a job: names the job to the harness, and tells the job nothing."""
    return f"CADDIE_JOB={hashlib.sha256(str(folder).encode()).hexdigest()[:32]}"


def discard(folder: Path) -> None:
    """Remove what a candidate may have shaped: `rm` has no depth or path length at which it gives up."""
    subprocess.run(["rm", "-rf", "--", str(folder)], capture_output=True)

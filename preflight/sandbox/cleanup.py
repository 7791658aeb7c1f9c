"""Clean up after jobs: remove their folders and, after a crash of the harness, kill processes that still run there."""

import contextlib
import fcntl
import hashlib
import os
import subprocess
import time
from pathlib import Path

from common.errors import SandboxError
from preflight.sandbox import process_tree

WAIT_SECONDS, POLL_SECONDS = 60.0, 0.02
LOCK_NAME = "supervisor.lock"  # in a job's folder, held while the job's supervisor is alive
WORKSPACE_PREFIX = ".job-"  # of the name of the folder that a job sees


def reap(folder: Path) -> None:
    """Remove a folder in which a killed harness may have left jobs, once those have ended.

    Raises:
        SandboxError: a job does not end.
    """
    for path, folders, files in os.walk(folder):
        if LOCK_NAME in files:  # a job's folder; everything below it was made by its candidate
            folders.clear()
            _wait_for_supervisor(Path(path) / LOCK_NAME)
            process_tree.kill_marked(marker(Path(path)))  # left behind if the supervisor was killed too
            _discard_workspace(Path(path) / LOCK_NAME)
    remove_tree(folder)


def _discard_workspace(lock: Path) -> None:
    """Remove the folder that a job saw, whose path the harness wrote to the lock file; no candidate can write there."""
    with contextlib.suppress(OSError):
        if (workspace := Path(lock.read_text(encoding="utf-8", errors="surrogateescape"))).name.startswith(
            WORKSPACE_PREFIX
        ):
            remove_tree(workspace)


def _wait_for_supervisor(lock: Path) -> None:
    """Wait until a job's supervisor has exited: it ends with its harness, and holds the lock until then."""
    try:
        handle = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # a candidate's own file of that name, in a folder that was half removed
        return None
    try:
        for _ in range(int(WAIT_SECONDS / POLL_SECONDS)):
            try:
                return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(POLL_SECONDS)
        raise SandboxError(f"{lock.parent}: a job of an earlier controller has not ended for {WAIT_SECONDS:g} s")
    finally:
        os.close(handle)


def marker(folder: Path) -> str:
    """Return the NAME=VALUE in the environment of a job's processes: identifies the job without telling it anything."""
    return f"CADDIE_JOB={hashlib.sha256(str(folder).encode()).hexdigest()[:32]}"


def remove_tree(folder: Path) -> None:
    """Remove a folder that a candidate may have filled: `rm` has no limit on depth or path length."""
    subprocess.run(["rm", "-rf", "--", str(folder)], capture_output=True)

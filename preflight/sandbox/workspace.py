"""The folder that one job sees: where it stands, who can go there, and that there is room for what it may write."""

import os
import shutil
import tempfile
from pathlib import Path

from data.errors import SandboxError
from preflight.sandbox import image
from preflight.sandbox.cleanup import WORKSPACE, discard
from preflight.sandbox.job import Job

SPARE_BYTES = 256 << 20  # free space that a job must leave to the machine


def make_workspace(job: Job) -> Path:
    """A folder of this job alone, whose name says nothing; beside the shards if it can be, for links to them."""
    folders = [image.folder()]
    if job.release:
        folders.insert(0, job.release[0].resolve().parent)
    for folder in folders:
        if os.access(folder, os.W_OK) and (job.level == "namespace" or os.geteuid() or _reachable(folder)):
            made = Path(tempfile.mkdtemp(prefix=WORKSPACE, dir=folder))
            made.chmod(0o711)
            if job.level != "namespace":  # there, what the job writes is held in memory and counted by the kernel
                _require_room(job, made)
            return made
    raise SandboxError(f"expected a folder for jobs that can be written, got {', '.join(map(str, folders))}")


def _reachable(folder: Path) -> bool:
    """Whether a user that owns nothing may go there."""
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


def _require_room(job: Job, workspace: Path) -> None:
    """What the kernel does not hold is reserved: the disk must not be full before a look at it sees too much."""
    needed = job.limits.disk_bytes + SPARE_BYTES
    if (free := shutil.disk_usage(workspace).free) < needed:
        discard(workspace)
        raise SandboxError(
            f"got {free:,} bytes free in {workspace.parent}, a job may write {needed:,}; free some space"
        )


def readable(folder: Path) -> Path:
    """The folder, with all below it, for every user: the person's umask and modes are not meant for a job's own."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    return folder

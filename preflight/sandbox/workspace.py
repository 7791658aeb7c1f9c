"""The folder that one job sees: choose its parent, set its permissions, and check that the disk has room for it."""

import os
import shutil
import tempfile
from pathlib import Path

from common.errors import SandboxError
from preflight.sandbox.cleanup import WORKSPACE_PREFIX, remove_tree
from preflight.sandbox.image import image
from preflight.sandbox.job import Job

SPARE_BYTES = 256 << 20  # free space that a job must leave to the machine


def make_workspace(job: Job) -> Path:
    """Make a folder for this job alone, with an uninformative name; next to the shards if possible, to link to them.

    Raises:
        SandboxError: no folder can be written, or the disk has too little room for what the job may write.
    """
    parents = [image.folder()]
    if job.release:
        parents.insert(0, job.release[0].resolve().parent)
    for parent in parents:
        if os.access(parent, os.W_OK) and (job.level == "namespace" or os.geteuid() or _reachable(parent)):
            workspace = Path(tempfile.mkdtemp(prefix=WORKSPACE_PREFIX, dir=parent))
            workspace.chmod(0o711)
            if job.level != "namespace":  # in a namespace all writes go to memory and the kernel counts them
                _require_room(job, workspace)
            return workspace
    raise SandboxError(f"expected a writable folder for jobs, got {', '.join(map(str, parents))}")


def _reachable(folder: Path) -> bool:
    """Return True if a user that owns nothing may enter the folder."""
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


def _require_room(job: Job, workspace: Path) -> None:
    """Raise SandboxError if the disk has too little room.

    Space that the kernel does not limit is reserved: the disk must not fill up before a poll notices the excess.
    """
    needed = job.limits.disk_bytes + SPARE_BYTES
    if (free := shutil.disk_usage(workspace).free) < needed:
        remove_tree(workspace)
        raise SandboxError(
            f"got {free:,} bytes free in {workspace.parent}, a job may write {needed:,}; free some space"
        )


def make_readable(folder: Path) -> Path:
    """Make the folder and all below it readable by every user, since a job's own user has to read it.

    The umask and the modes of the human user's files are not meant for that user.
    """
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    return folder

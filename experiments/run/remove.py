"""Removal of a whole run: its folder, its branches and its refs."""

import shutil
from pathlib import Path

from common import lock as locks
from common.errors import CaddieError
from experiments.repo.workspace import Workspace


def remove(workspace: Workspace, folder: Path) -> int:
    """Delete a run and return the bytes that its files had.

    Raises:
        CaddieError: A process has the run open.
    """
    held = None
    if folder.is_dir() and (held := locks.acquire(folder / "lock")) is None:
        holder = locks.holder(folder / "lock")
        raise CaddieError(f"run {workspace.run} is in use by {holder}; stop that process first")
    freed = sum(path.lstat().st_size for path in folder.rglob("*")) if folder.is_dir() else 0
    workspace.delete_refs(workspace.run_refs())
    shutil.rmtree(folder, ignore_errors=True)
    if held:
        held.close()
    if folder.exists():
        raise CaddieError(f"{folder}: expected it to be deleted, something is left; check who owns it")
    return freed

"""What jobs leave behind: their folders, and after a crash of the harness, processes that still run in them."""

import fcntl
import os
import subprocess
from pathlib import Path

from preflight import process_tree

LOCK_NAME = "warden.lock"  # in a job's folder, held while the job's warden lives


def clear(folder: Path) -> None:
    """Remove a folder in which a harness that was killed may have left jobs, once they are over."""
    for path, folders, files in os.walk(folder):
        if LOCK_NAME in files:  # the folder of a job; below it stands only what its candidate made
            folders.clear()
            with (Path(path) / LOCK_NAME).open() as held:
                fcntl.flock(held, fcntl.LOCK_EX)  # its warden ends with the harness, and has it until then
            process_tree.end_marked(marker(Path(path)))  # a warden that was killed too leaves these
    discard(folder)


def marker(folder: Path) -> str:
    """In the environment of every process of a job."""
    return f"CADDIE_JOB={folder}"


def discard(folder: Path) -> None:
    """Remove what a candidate may have shaped: `rm` has no depth or path length at which it gives up."""
    subprocess.run(["rm", "-rf", "--", str(folder)], capture_output=True)

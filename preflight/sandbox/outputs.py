"""Files that a job writes: measure them, copy growing ones while it runs, and collect the rest at its end."""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

FOLLOWED_BYTES = 4 << 20
HOLE_BYTES = 1 << 16


def collect(out: Path, store: Path, room: int) -> None:
    """Copy the plain files of `out` to `store`, up to `room` bytes in all.

    The harness checks each of them again (`collect_output`); everything else is deleted with the job.
    """
    with (
        contextlib.suppress(PermissionError),  # nothing is kept of a folder that cannot be listed
        os.scandir(out) as entries,
    ):
        for entry in entries:
            info = entry.stat(follow_symlinks=False)
            sparse = info.st_size > 512 * info.st_blocks + HOLE_BYTES  # a copy would fill the harness's disk for real
            if stat.S_ISREG(info.st_mode) and info.st_nlink == 1 and info.st_size <= room and not sparse:
                room -= info.st_size
                with contextlib.suppress(PermissionError):
                    shutil.copyfile(entry.path, store / entry.name)


def follow(out: Path, store: Path, names: Iterable[str]) -> None:
    """Append to the copies in `store` what has been added to these files of `out` since the last call."""
    for name in names:
        with contextlib.suppress(OSError):
            handle = os.open(out / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                with (store / name).open("ab") as copy:
                    if stat.S_ISREG(os.fstat(handle).st_mode):
                        copy.write(os.pread(handle, max(0, FOLLOWED_BYTES - copy.tell()), copy.tell()))
            finally:
                os.close(handle)


def disk_use(folders: list[Path], most_files: int) -> tuple[int, int]:
    """Return the bytes on disk and the number of entries below some folders.

    The walk stops once there are more than `most_files` entries: a poll must not take longer the more names a job
    makes, or the job outruns it.
    """
    written = files = 0
    queue = [str(folder) for folder in folders]
    while queue and files <= most_files:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(queue.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    info = entry.stat(follow_symlinks=False)
                    written += 512 * info.st_blocks
                    files += 1
                    if stat.S_ISDIR(info.st_mode):
                        queue.append(entry.path)
                if files > most_files:
                    break
    return written, files

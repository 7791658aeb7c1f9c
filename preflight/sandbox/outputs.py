"""What a job has written: how much there is, files that are read while they grow, and what is kept at the end."""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

FOLLOWED_BYTES = 4 << 20
HOLE_BYTES = 1 << 16


def collect(out: Path, store: Path, room: int) -> None:
    """Plain files of `out` for the harness, which looks at each again; the rest is gone with the job."""
    with (
        contextlib.suppress(PermissionError),
        os.scandir(out) as entries,
    ):  # nothing is kept of what nobody may list
        for entry in entries:
            info = entry.stat(follow_symlinks=False)
            hole = info.st_size > 512 * info.st_blocks + HOLE_BYTES  # would become real on the harness's disk
            if stat.S_ISREG(info.st_mode) and info.st_nlink == 1 and info.st_size <= room and not hole:
                room -= info.st_size
                with contextlib.suppress(PermissionError):
                    shutil.copyfile(entry.path, store / entry.name)


def follow(out: Path, store: Path, names: Iterable[str]) -> None:
    """What has been added to these files since the last look."""
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
    """Bytes on disk and number of entries below some folders; of no more folders once there are too many entries.

    A look must not take the longer the more names a job makes, or the job outruns it.
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

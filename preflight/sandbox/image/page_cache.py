"""Read shared files on a disk into the page cache, so that all their pages are in memory before a job sees one.

The set of resident pages would otherwise be a message, read by timing or by a process's own count of page faults. No
job can evict pages.
"""

import functools
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

MADV_POPULATE_READ = 22  # Linux 5.14: reads a whole mapping into the page cache


def read_into_memory(path: Path) -> None:
    """Read all pages of a file that are not in memory yet."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size:
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
                try:
                    pages.madvise(MADV_POPULATE_READ)
                except OSError:  # an older kernel
                    while file.read(1 << 24):
                        pass


@functools.cache
def read_all_into_memory(paths: Iterable[str]) -> None:
    """Read files, and everything below folders; once per process, since only a lack of memory evicts them."""
    for path in map(Path, paths):
        files = (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            if os.access(file, os.R_OK):
                read_into_memory(file)

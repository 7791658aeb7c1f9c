"""Files that jobs share and that stand on a disk: all their pages are in memory before a job sees one.

Which were would be a message, read by the time it takes or by a process's own count of faults. No job can evict them.
"""

import functools
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

MADV_POPULATE_READ = 22  # Linux 5.14: reads a whole mapping into the page cache


def read_into_memory(path: Path) -> None:
    """All pages of a file, where they are not there yet."""
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
    """Files, and all below folders; once in the life of a process, as nothing but a lack of memory evicts them."""
    for path in map(Path, paths):
        for file in (found for found in path.rglob("*") if found.is_file()) if path.is_dir() else [path]:
            if os.access(file, os.R_OK):
                read_into_memory(file)

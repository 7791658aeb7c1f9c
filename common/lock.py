"""File locks that name their holder; the kernel releases them when the process ends, however it ends."""

import fcntl
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TextIO

from common.text import one_line


def acquire(path: Path) -> TextIO | None:
    """Return the open lock file, or None if another process holds the lock; close it to release the lock."""
    lock = path.open("a+", encoding="utf-8", errors="replace")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    lock.truncate(0)
    program = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
    print(f"pid {os.getpid()} ({program}), since {datetime.now():%Y-%m-%d %H:%M:%S}", file=lock, flush=True)
    return lock


def is_held(path: Path) -> bool:
    """Return True if a process holds the lock."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or a file system without locks
        return False
    return False


def holder(path: Path) -> str:
    """Describe the process that holds a lock: its pid, its program, and since when."""
    with path.open(encoding="utf-8", errors="replace") as lock:
        return one_line(lock.read(300).strip()) or "an unnamed process"

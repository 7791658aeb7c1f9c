"""A lock that says who holds it: held until the process ends, however it ends."""

import fcntl
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TextIO

from preflight.text import one_line


def take(path: Path) -> TextIO | None:
    """The lock, or None where another process has it; close it to let go."""
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


def holder(path: Path) -> str:
    """Who has a lock: its process, what that is, and since when."""
    with path.open(encoding="utf-8", errors="replace") as lock:
        return one_line(lock.read(300).strip()) or "a process that has not said which"

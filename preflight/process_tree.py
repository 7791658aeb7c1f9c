"""A process and all its descendants, as the kernel counts them: who lives, CPU seconds, memory, and an end to all."""

import contextlib
import os
import signal
import stat
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """What a tree has used so far and uses now."""

    processes: int
    threads: int
    cpu_seconds: float  # of the living, with the children they have waited for
    memory_bytes: int  # resident


def descendants(root: int) -> list[int]:
    """Living processes below `root`, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (fields := stat_fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], list(children.get(root, []))
    while queue:
        found.append(pid := queue.pop(0))
        queue += children.get(pid, [])
    return found


def sample(root: int) -> Sample:
    """The tree below `root`, `root` itself left out."""
    pids = descendants(root)
    living = [fields for pid in pids if (fields := stat_fields(pid))]
    ticks = sum(int(value) for fields in living for value in fields[11:15])  # own and waited-for, user and system
    threads = sum(int(fields[17]) for fields in living)
    return Sample(len(living), threads, ticks / TICK, PAGE * sum(int(fields[21]) for fields in living))


def unlinked_bytes(root: int) -> int:
    """Disk and memory held by files that are open below `root` but have no name any more."""
    held: dict[tuple[int, int], int] = {}
    for pid in descendants(root):
        with contextlib.suppress(FileNotFoundError, PermissionError, ProcessLookupError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    info = Path(entry.path).stat()
                    if info.st_nlink == 0 and stat.S_ISREG(info.st_mode):
                        held[info.st_dev, info.st_ino] = 512 * info.st_blocks
    return sum(held.values())


def end(root: int) -> None:
    """Kill everything below `root`, whole process groups at a time.

    The kernel kills a group in one sweep that no fork escapes; one process after another would race a fork bomb. Who
    left its group is in the next sweep. `root` reaps what it inherits, so it must be the caller and a subreaper.
    """
    own = os.getpgid(root)
    while living := [fields for pid in descendants(root) if (fields := stat_fields(pid)) and fields[0] not in "ZX"]:
        for group in {int(fields[2]) for fields in living}:
            if group not in (own, 0, -1):  # a process that is just going has no group
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name, from `state` on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []

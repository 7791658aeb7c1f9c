"""A process and all its descendants, as the kernel counts them: who lives, CPU seconds, memory, and an end to all."""

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """What a tree has used so far and uses now."""

    processes: int
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
    return Sample(len(living), ticks / TICK, PAGE * sum(int(fields[21]) for fields in living))


def end(root: int) -> None:
    """Stop, then kill everything below `root`: what is stopped cannot fork while the rest is found."""
    for sent in (signal.SIGSTOP, signal.SIGKILL):
        before: set[int] = set()
        while (now := set(descendants(root))) - before:
            for pid in now:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, sent)
            before |= now


def stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name, from `state` on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []

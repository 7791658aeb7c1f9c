"""A process and all its descendants, as the kernel counts them: who lives, CPU seconds, memory, and an end to all."""

import contextlib
import ctypes
import os
import signal
import stat
import time
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
SWEEPS = 500
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


def unlinked_bytes(root: int, folder: str) -> int:
    """Disk held below `root` by files of `folder` that are open or mapped but have no name any more."""
    held: dict[tuple[str, str], int] = {}
    for pid in descendants(root):
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    info = Path(entry.path).stat()
                    if info.st_nlink == 0 and stat.S_ISREG(info.st_mode):
                        held[f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}", str(info.st_ino)] = (
                            512 * info.st_blocks
                        )
        with contextlib.suppress(OSError), Path(f"/proc/{pid}/maps").open(encoding="utf-8", errors="replace") as lines:
            for fields in (line.split(maxsplit=5) for line in lines if line.endswith("(deleted)\n")):
                if fields[5].startswith(folder) and (fields[3], fields[4]) not in held:
                    first, last = (int(end, 16) for end in fields[0].split("-"))
                    held[fields[3], fields[4]] = last - first
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


def end_marked(variable: str) -> None:
    """Kill every process that was started with this NAME=VALUE in its environment, wherever it hangs now."""
    wanted = variable.encode()
    for _ in range(SWEEPS):  # one that hangs in a driver cannot be ended, and shall not hold up the night
        marked = [pid for pid in processes() if wanted in environment(pid)]
        if not marked:
            return
        for pid in marked:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def die_with_parent(parent: int) -> None:
    """From here on the caller ends when its parent does, however that ends; at once if it has (0: not known)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def unreadable() -> None:
    """Nobody but root reads this process through /proc: what it holds is not for a trial of the same user."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def processes() -> list[int]:
    """All of this machine."""
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def environment(pid: int) -> list[bytes]:
    """What a process was started with; empty for one that is gone, a zombie, or somebody else's."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name, from `state` on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []

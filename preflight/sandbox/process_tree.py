"""Inspect and kill a process with all its descendants: CPU seconds, memory and counts as the kernel reports them."""

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
KILL_ROUNDS = 500
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """Resource use of a process tree: CPU seconds so far, everything else at this moment."""

    processes: int
    threads: int
    cpu_seconds: float  # of the living, with the children they have waited for
    memory_bytes: int  # resident


def descendants(root: int) -> list[int]:
    """Return the living processes below `root`, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (fields := stat_fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    pids, queue = [], list(children.get(root, []))
    while queue:
        pids.append(pid := queue.pop(0))
        queue += children.get(pid, [])
    return pids


def sample(root: int) -> Sample:
    """Measure the tree below `root`, without `root` itself."""
    pids = descendants(root)
    living = [fields for pid in pids if (fields := stat_fields(pid))]
    ticks = sum(int(value) for fields in living for value in fields[11:15])  # own and waited-for, user and system
    threads = sum(int(fields[17]) for fields in living)
    return Sample(len(living), threads, ticks / TICK, PAGE * sum(int(fields[21]) for fields in living))


def unlinked_bytes(root: int, folder: str) -> int:
    """Return the disk space that processes below `root` hold in deleted files of `folder`, open or mapped."""
    sizes: dict[tuple[str, str], int] = {}  # by device and inode
    for pid in descendants(root):
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    info = Path(entry.path).stat()
                    if info.st_nlink == 0 and stat.S_ISREG(info.st_mode):
                        device = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}"
                        sizes[device, str(info.st_ino)] = 512 * info.st_blocks
        with contextlib.suppress(OSError), Path(f"/proc/{pid}/maps").open(encoding="utf-8", errors="replace") as lines:
            for fields in (line.split(maxsplit=5) for line in lines if line.endswith("(deleted)\n")):
                if fields[5].startswith(folder) and (fields[3], fields[4]) not in sizes:
                    first, last = (int(end, 16) for end in fields[0].split("-"))
                    sizes[fields[3], fields[4]] = last - first
    return sum(sizes.values())


def kill_tree(root: int) -> None:
    """Kill everything below `root`, whole process groups at a time.

    The kernel kills a group in one pass that no fork escapes; killing one process after another would race a fork
    bomb. A process that left its group is caught in the next pass. `root` reaps what it inherits, so it must be the
    caller and a subreaper.
    """
    own_group = os.getpgid(root)
    while living := [fields for pid in descendants(root) if (fields := stat_fields(pid)) and fields[0] not in "ZX"]:
        for group in {int(fields[2]) for fields in living}:
            if group not in (own_group, 0, -1):  # an exiting process has no group
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def kill_marked(variable: str) -> None:
    """Kill every process that was started with this NAME=VALUE in its environment, whatever its parent is now."""
    wanted = variable.encode()
    for _ in range(KILL_ROUNDS):  # bounded: a process stuck in a driver cannot be killed and must not block the run
        marked = [pid for pid in processes() if wanted in environment(pid)]
        if not marked:
            return
        for pid in marked:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill the caller when its parent dies, however that happens; at once if it is already dead.

    Args:
        parent: the expected parent's process id; 0 if it is not known, which skips the check.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def set_undumpable() -> None:
    """Let only root read this process through /proc: its secrets must not leak to a trial of the same user."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def processes() -> list[int]:
    """Return the ids of all processes on this machine."""
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def environment(pid: int) -> list[bytes]:
    """Return the environment a process was started with; empty if it is gone, a zombie, or another user's."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, from `state` on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []

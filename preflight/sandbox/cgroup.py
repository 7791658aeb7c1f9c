"""A control group for one job, where the harness may make one: limits on memory and processes that the kernel enforces.

Everything a job can accumulate counts: anonymous memory, its file systems in memory, socket and pipe buffers, page
tables. Version 2 (Linux 4.5 on) needs a group that was delegated to this user; version 1 one that can be written.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

ROOT = Path("/sys/fs/cgroup")
NAME = "caddie-"


@dataclass(frozen=True)
class Group:
    """The folders of one job's group: one in version 2, one for each controller in version 1."""

    folders: tuple[Path, ...]
    memory: Path
    pids: Path

    @classmethod
    def make(cls, memory_bytes: int, processes: int) -> "Group | None":
        """Create a group with these limits; None where that is not possible and the supervisor can only poll."""
        name = f"{NAME}{token_hex(8)}"
        parents = _parents()
        folders: list[Path] = []
        try:
            for parent in dict.fromkeys(parents.values()):
                (parent / name).mkdir()
                folders.append(parent / name)
            memory, pids = parents["memory"] / name, parents["pids"] / name
            unified = memory == pids
            (memory / ("memory.max" if unified else "memory.limit_in_bytes")).write_text(
                str(memory_bytes), encoding="utf-8"
            )
            (pids / "pids.max").write_text(str(processes), encoding="utf-8")
            with contextlib.suppress(FileNotFoundError, OSError):  # no swap: swapped-out memory would not be counted
                (memory / "memory.swap.max").write_text("0", encoding="utf-8") if unified else (
                    memory / "memory.memsw.limit_in_bytes"
                ).write_text(str(memory_bytes), encoding="utf-8")
            return cls(tuple(folders), memory, pids)
        except (OSError, KeyError):
            for folder in folders:
                folder.rmdir()
            return None

    def join(self) -> None:
        """Move the calling process, and so all it will start, into the group."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()), encoding="utf-8")

    def exceeded_limit(self) -> str:
        """Return the limit that the kernel has enforced against the group: memory, processes, or empty."""
        if any(_count(self.memory / name, "oom_kill") for name in ("memory.events", "memory.oom_control")):
            return "memory"
        return "processes" if _count(self.pids / "pids.events", "max") else ""

    def remove(self) -> None:
        """Delete the group once every process in it has exited."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _count(path: Path, event: str) -> int:
    """Return how often an event has happened, by the kernel's count."""
    with contextlib.suppress(OSError):
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        return next((int(value) for name, value in lines if name == event), 0)
    return 0


def _parents() -> dict[str, Path]:
    """Return the folder below which this process may make a group, by controller."""
    parents: dict[str, Path] = {}
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers and (ROOT / "cgroup.controllers").exists():
            own = ROOT / path.lstrip("/")
            parent = own.parent if own != ROOT else own  # a group with processes in it may not have child groups
            parents |= dict.fromkeys(("memory", "pids"), parent)
        for controller in set(controllers.split(",")) & {"memory", "pids"}:
            parents[controller] = ROOT / controllers / path.lstrip("/")
    return parents

"""A job's resource use checked against its limits: polled ten times a second, and once more at the end."""

import contextlib
import os
import resource
import time
from pathlib import Path
from typing import Any

from preflight.sandbox import outputs, process_tree

POLL_SLACK_BYTES = 4 << 20  # a file system with less than this left counts as full


class Usage:
    """CPU, memory, processes and disk of everything below this process."""

    def __init__(self, limits: dict[str, Any], polled: list[str], workspace: str) -> None:
        self.limits, self.polled, self.workspace = limits, polled, workspace
        self.out: Path | None = None  # the job's output folder, once it has been received
        self.memory_folders: list[Path] = []  # other writable folders, where each is a file system in memory
        self.lost_cpu = self.last_cpu = 0.0  # CPU of processes that vanished without being waited for
        self.peak_memory = 0
        self.created = time.monotonic()
        self.clock: tuple[float, float] | None = None  # wall and CPU seconds when the job's time began

    def cpu_seconds(self, sample: process_tree.Sample) -> float:
        """Return all CPU seconds used below this process.

        Where a parent ignores SIGCHLD the kernel credits its children's time to no process: the loss is kept here.
        """
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        total = sample.cpu_seconds + used.ru_utime + used.ru_stime
        self.lost_cpu += max(0.0, self.last_cpu - total)
        self.last_cpu = total
        return total + self.lost_cpu

    def exceeded_limit(self) -> str:
        """Return the name of the first limit that is exceeded now; empty if there is none."""
        limits, now = self.limits, time.monotonic()
        sample = process_tree.sample(os.getpid())
        cpu = self.cpu_seconds(sample)
        self.peak_memory = max(self.peak_memory, sample.memory_bytes)
        free = limits["setup_cpu_seconds"]
        if self.clock is None:
            if cpu - free > limits["cpu_seconds"]:
                return "setup_cpu"
            return "setup" if now - self.created > limits["setup_seconds"] else self.exceeded_space(sample)
        if now - self.clock[0] > limits["wall_seconds"]:
            return "wall"
        if cpu - min(self.clock[1], free) > limits["cpu_seconds"]:
            return "cpu"
        return self.exceeded_space(sample)

    def exceeded_space(self, sample: process_tree.Sample) -> str:
        """Return the first of the limits on processes, memory and disk that is exceeded; empty if there is none."""
        if sample.processes > self.limits["processes"]:
            return "processes"
        if sample.memory_bytes > self.limits["memory_bytes"]:
            return "memory"
        if sample.threads > self.limits["threads"]:
            return "processes"
        try:
            written, files = self.written()
        except OSError:  # a path too long or an unreadable folder: no legitimate job makes one
            return "disk"
        return "disk" if written > self.limits["disk_bytes"] or files > self.limits["files"] else ""

    def full(self) -> bool:
        """Return True if the job has used up the disk space that it may write."""
        with contextlib.suppress(OSError):
            return bool(self.written()[0] >= self.limits["disk_bytes"] - POLL_SLACK_BYTES)
        return False

    def written(self) -> tuple[int, int]:
        """Return the bytes that the job holds on disk, and the number of its files."""
        if not self.polled:  # a file system of its own: the kernel's count includes deleted files that are still open
            if self.out is None:
                return 0, 0
            used = os.statvfs(self.out)
            files = sum(info.f_files - info.f_ffree for info in map(os.statvfs, (self.out, *self.memory_folders)))
            return (used.f_blocks - used.f_bfree) * used.f_frsize, files
        written, files = outputs.disk_use([Path(folder) for folder in self.polled], self.limits["files"])
        return written + process_tree.unlinked_bytes(os.getpid(), self.workspace), files

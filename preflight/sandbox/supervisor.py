"""The process that starts a candidate, releases its data, counts what it spends, and ends all of it.

It reads one job as JSON from its standard input and writes one report as JSON to its standard output. Being the
subreaper of everything below it, it finds what forks away; being a process of its own, it runs the same on this
machine and on a node of a cluster, and dies with the harness.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from preflight.sandbox import outputs, process_tree
from preflight.sandbox.cgroup import Group
from preflight.sandbox.page_cache import read_into_memory

POLL_SECONDS = 0.1
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
POLL_SLACK_BYTES = 4 << 20  # a file system that has less than this left is full
DATA_FACTOR = 2  # of the memory limit: what one process may map, where only looking now and then counts what it uses
MOST_FOLDERS = 3
READABLE = 0o444
HANDLES = "/proc/self/fd/"


class Stop(Exception):
    """The harness wants this job to end, or has gone."""


class Supervisor:
    """One job under watch; `reason` says which limit ended it, empty if it ended by itself."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job, self.limits = job, job["limits"]
        self.out: Path | None = Path(job["out"]) if job["channel"] is None else None
        self.beside: list[Path] = []  # what else the job can write, where each is a file system in memory
        self.log_path = Path(job["log"])
        self.reason = ""
        self.lost_cpu = self.last_cpu = 0.0  # CPU of processes that vanished without being waited for
        self.peak_memory = self.logged = 0
        self.talking, self.awaited = True, job["channel"] is not None  # it may still print; OUT has yet to come
        self.created = time.monotonic()
        self.clock: tuple[float, float] | None = None  # wall and CPU seconds when the job's time began
        self.group = Group.make(
            self.limits["memory_bytes"] + self.limits["disk_bytes"] + 2 * self.limits["temporary_bytes"],
            self.limits["processes"] + self.limits["threads"],
        )

    def run(self) -> dict[str, Any]:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        signal.signal(signal.SIGTERM, _raise_stop)
        lock = Path(self.job["lock"]).open("r+")  # noqa: SIM115 held until this process ends, however it ends
        fcntl.flock(lock, fcntl.LOCK_EX)
        status: int | None = None
        cpu = 0.0
        child: subprocess.Popen[bytes] | None = None
        ended_before = _ended_by_kernel()
        try:
            if os.getppid() != self.job["parent"]:
                raise Stop  # the harness was gone before the kernel knew whom to tell
            with Path(self.job["stdin"]).open("rb") as stdin:
                child = subprocess.Popen(
                    self.job["command"],
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=self.job["pass_fds"],
                    env=self.job["environment"],
                    cwd=self.job["out"] if self.job["channel"] is None else "/",
                    preexec_fn=self.set_limits,
                )
            for handle in self.job["pass_fds"]:
                os.close(handle)
            if not self.job["release"]:
                self.clock = (self.created, 0.0)
            status = self.watch(child)
        except Stop:
            self.reason = "stopped"
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if self.reason != "processes":  # counting thousands would give them time to become more
                cpu = self.cpu_seconds(process_tree.sample(os.getpid()))
            if child:
                child.kill()  # the end of a namespace is the end of everything in it
            process_tree.end(os.getpid())
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.waitpid(-1, 0)
            self.reason = self.reason or self.why_killed(status)
            if self.out and self.job["collect"]:
                try:
                    outputs.collect(self.out, Path(self.job["collect"]), self.limits["disk_bytes"])
                except OSError:  # names, sizes or a disk that no honest job brings about
                    self.reason = self.reason or "disk"
            if self.group:
                self.group.remove()
        now = time.monotonic()
        cpu = max(cpu, self.last_cpu)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = max(cpu, used.ru_utime + used.ru_stime)
        wall0, cpu0 = self.clock or (now, cpu)
        return {
            "status": None if self.reason else status,
            "reason": self.reason,
            "setup_seconds": wall0 - self.created,
            "setup_cpu_seconds": cpu0,
            "wall_seconds": now - wall0,
            "cpu_seconds": cpu - cpu0,
            "peak_memory_bytes": self.peak_memory,
            "machine_out_of_memory": _ended_by_kernel() > ended_before,
        }

    def set_limits(self) -> None:
        """In the child, before it becomes the candidate; its niceness is that of the person's own command."""
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if self.group:
            self.group.join()
        elif not self.job["gpu"]:  # CUDA reserves far more than it uses
            resource.setrlimit(resource.RLIMIT_DATA, (DATA_FACTOR * self.limits["memory_bytes"],) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def why_killed(self, status: int | None) -> str:
        """The limit behind an end that looks like the program's own: the kernel's out-of-memory killer, a full disk."""
        if status and self.group and (reason := self.group.broken_limit()):
            return reason
        return "disk" if status and self.out and self.full() else ""

    def full(self) -> bool:
        """Whether the job has filled what it may write."""
        with contextlib.suppress(OSError):
            return bool(self.written()[0] >= self.limits["disk_bytes"] - POLL_SLACK_BYTES)
        return False

    def meet(self) -> None:
        """Receive the job's OUT, if it has come; then the job may begin."""
        with socket.socket(fileno=os.dup(self.job["channel"])) as channel:
            _, handles, _, _ = socket.recv_fds(channel, 1, MOST_FOLDERS, socket.MSG_DONTWAIT)
            self.awaited = False
            if handles:
                self.out, *self.beside = [Path(f"{HANDLES}{handle}") for handle in handles]
                channel.send(b"O")

    def watch(self, child: "subprocess.Popen[bytes]") -> int | None:
        """Until the candidate ends by itself or by a limit; its exit status, or None."""
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        next_poll = 0.0
        with self.log_path.open("wb") as log:
            while True:
                awaited = [child.stdout] if self.talking else []
                awaited += [self.job["channel"]] if self.awaited else []
                ready = select.select(awaited, [], [], POLL_SECONDS / 2)[0]
                if child.stdout in ready:
                    self.copy_log(child.stdout.fileno(), log)
                if self.job["channel"] in ready:
                    with contextlib.suppress(BlockingIOError, ConnectionError, BrokenPipeError):
                        self.meet()
                status = child.poll()
                if status is None and time.monotonic() >= next_poll:
                    self.release_data()
                    if self.out:
                        outputs.follow(self.out, Path(self.job["collect"] or os.devnull), self.job["follow"])
                    self.reason = self.reason or self.broken_limit()
                    next_poll = time.monotonic() + POLL_SECONDS
                if self.reason or status is not None:
                    self.copy_log(child.stdout.fileno(), log)
                    return status

    def copy_log(self, pipe: int, log: Any) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.talking:
                part = os.read(pipe, 1 << 16)
                self.talking = bool(part)  # it may have closed its end and go on
                room = self.limits["log_bytes"] - self.logged
                log.write(part[: max(room, 0)])
                self.logged += len(part)
                if self.logged > self.limits["log_bytes"]:
                    self.reason = "log"
                    return

    def release_data(self) -> None:
        """The clock is the data: when the candidate says it is ready, its training shards appear and time begins."""
        if self.clock or self.out is None or not os.path.lexists(self.out / "ready"):
            return
        source, target = Path(self.job["release"][0]), Path(self.job["release"][1])
        hidden = target.with_name(f".{target.name}")
        hidden.mkdir()
        hidden.chmod(0o755)
        for shard in sorted(source.iterdir()):
            try:
                if shard.stat().st_mode & READABLE != READABLE:
                    raise PermissionError  # the job's own user could not read it
                os.link(shard.resolve(), hidden / shard.name)
            except OSError:  # another file system
                shutil.copyfile(shard, hidden / shard.name)
                (hidden / shard.name).chmod(READABLE)
            read_into_memory(hidden / shard.name)
        hidden.rename(target)
        self.clock = (time.monotonic(), self.cpu_seconds(process_tree.sample(os.getpid())))

    def cpu_seconds(self, sample: process_tree.Sample) -> float:
        """All CPU below this process. Where a parent ignores SIGCHLD the kernel credits nobody: keep the loss."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        total = sample.cpu_seconds + used.ru_utime + used.ru_stime
        self.lost_cpu += max(0.0, self.last_cpu - total)
        self.last_cpu = total
        return total + self.lost_cpu

    def broken_limit(self) -> str:
        """The first limit that is broken now, or nothing."""
        limits, now = self.limits, time.monotonic()
        sample = process_tree.sample(os.getpid())
        cpu = self.cpu_seconds(sample)
        self.peak_memory = max(self.peak_memory, sample.memory_bytes)
        free = limits["setup_cpu_seconds"]
        if self.clock is None:
            if cpu - free > limits["cpu_seconds"]:
                return "setup_cpu"
            return "setup" if now - self.created > limits["setup_seconds"] else self.broken_space(sample)
        if now - self.clock[0] > limits["wall_seconds"]:
            return "wall"
        if cpu - min(self.clock[1], free) > limits["cpu_seconds"]:
            return "cpu"
        return self.broken_space(sample)

    def broken_space(self, sample: process_tree.Sample) -> str:
        if sample.processes > self.limits["processes"]:
            return "processes"
        if sample.memory_bytes > self.limits["memory_bytes"]:
            return "memory"
        if sample.threads > self.limits["threads"]:
            return "processes"
        try:
            written, files = self.written()
        except OSError:  # a path too long or a folder nobody may read: no honest job makes one
            return "disk"
        return "disk" if written > self.limits["disk_bytes"] or files > self.limits["files"] else ""

    def written(self) -> tuple[int, int]:
        """Bytes that the job holds on disk, and its files."""
        if not self.job["polled"]:  # a file system of its own: the kernel counts what has no name any more, too
            if self.out is None:
                return 0, 0
            used = os.statvfs(self.out)
            files = sum(one.f_files - one.f_ffree for one in map(os.statvfs, (self.out, *self.beside)))
            return (used.f_blocks - used.f_bfree) * used.f_frsize, files
        written, files = outputs.disk_use([Path(folder) for folder in self.job["polled"]], self.limits["files"])
        return written + process_tree.unlinked_bytes(os.getpid(), self.job["workspace"]), files


def _ended_by_kernel() -> int:
    """Processes that this machine's out-of-memory killer has ended so far."""
    with contextlib.suppress(OSError):
        lines = [line.split() for line in Path("/proc/vmstat").read_text(encoding="utf-8").splitlines()]
        return next((int(value) for name, value in lines if name == "oom_kill"), 0)
    return 0


def _raise_stop(*_: object) -> None:
    raise Stop


if __name__ == "__main__":
    print(json.dumps(Supervisor(json.load(sys.stdin)).run()))

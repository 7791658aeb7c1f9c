"""The process that starts a candidate, releases its data, measures what it uses, and ends its whole process tree.

It reads one job as JSON from its standard input and writes one report as JSON to its standard output. Being the
subreaper of everything below it, it finds processes that fork away; being a process of its own, it runs the same on
this machine and on a node of a cluster, and dies with the harness.
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
from preflight.sandbox.image.page_cache import read_into_memory
from preflight.sandbox.usage import Usage

POLL_SECONDS = 0.1
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
DATA_FACTOR = 2  # of the memory limit: the most that one process may map, where memory use is only polled
MOST_FOLDERS = 3
READABLE = 0o444
DESCRIPTORS = "/proc/self/fd/"


class Stop(Exception):
    """The harness wants this job to end, or has exited."""


class Supervisor:
    """One supervised job; `reason` is the limit that ended it, empty if it exited."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job, self.limits = job, job["limits"]
        self.usage = Usage(self.limits, job["polled"], job["workspace"])
        self.usage.out = Path(job["out"]) if job["channel"] is None else None
        self.log_path = Path(job["log"])
        self.reason = ""
        self.log_bytes = 0
        self.output_open = True  # the job may still print
        self.folders_pending = job["channel"] is not None  # the handle of OUT has yet to arrive
        self.group = Group.make(
            self.limits["memory_bytes"] + self.limits["disk_bytes"] + 2 * self.limits["temporary_bytes"],
            self.limits["processes"] + self.limits["threads"],
        )

    def run(self) -> dict[str, Any]:
        """Run the job to its end and return the report."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        signal.signal(signal.SIGTERM, _raise_stop)
        lock = Path(self.job["lock"]).open("r+")  # noqa: SIM115 held until this process ends, however it ends
        fcntl.flock(lock, fcntl.LOCK_EX)
        status: int | None = None
        child: subprocess.Popen[bytes] | None = None
        oom_kills_before = _machine_oom_kills()
        try:
            if os.getppid() != self.job["parent"]:
                raise Stop  # the harness exited before PR_SET_PDEATHSIG took effect
            child = self.start_candidate()
            if not self.job["release"]:
                self.usage.clock = (self.usage.created, 0.0)
            status = self.watch(child)
        except Stop:
            self.reason = "stopped"
        finally:
            cpu = self.end_all(child)
            self.reason = self.reason or self.limit_behind(status)
            if self.usage.out and self.job["collect"]:
                try:
                    outputs.collect(self.usage.out, Path(self.job["collect"]), self.limits["disk_bytes"])
                except OSError:  # names, sizes or a full disk that no legitimate job causes
                    self.reason = self.reason or "disk"
            if self.group:
                self.group.remove()
        return self.report(status, cpu, oom_kills_before)

    def start_candidate(self) -> "subprocess.Popen[bytes]":
        """Start the candidate, and close the descriptors that only it should hold."""
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
        return child

    def set_limits(self) -> None:
        """Limit the child before it becomes the candidate; its niceness stays that of the user's own command."""
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if self.group:
            self.group.join()
        elif not self.job["gpu"]:  # CUDA reserves far more than it uses
            resource.setrlimit(resource.RLIMIT_DATA, (DATA_FACTOR * self.limits["memory_bytes"],) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def end_all(self, child: "subprocess.Popen[bytes] | None") -> float:
        """Kill and reap everything below this process; return the CPU seconds used until then."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        cpu = 0.0
        if self.reason != "processes":  # counting thousands would give them time to become more
            cpu = self.usage.cpu_seconds(process_tree.sample(os.getpid()))
        if child:
            child.kill()  # the end of a namespace is the end of everything in it
        process_tree.kill_tree(os.getpid())
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        return cpu

    def report(self, status: int | None, cpu: float, oom_kills_before: int) -> dict[str, Any]:
        """Return the outcome of a job that has ended, as the harness reads it."""
        now, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = max(cpu, self.usage.last_cpu, used.ru_utime + used.ru_stime)
        wall0, cpu0 = self.usage.clock or (now, cpu)
        return {
            "status": None if self.reason else status,
            "reason": self.reason,
            "setup_seconds": wall0 - self.usage.created,
            "setup_cpu_seconds": cpu0,
            "wall_seconds": now - wall0,
            "cpu_seconds": cpu - cpu0,
            "peak_memory_bytes": self.usage.peak_memory,
            "machine_out_of_memory": _machine_oom_kills() > oom_kills_before,
        }

    def limit_behind(self, status: int | None) -> str:
        """Return the limit behind what looks like the program's own failure: an out-of-memory kill, or a full disk."""
        if status and self.group and (reason := self.group.exceeded_limit()):
            return reason
        return "disk" if status and self.usage.out and self.usage.full() else ""

    def receive_folders(self) -> None:
        """Receive the handles of OUT and the other writable folders, if they have arrived, and let the job begin."""
        with socket.socket(fileno=os.dup(self.job["channel"])) as channel:
            _, handles, _, _ = socket.recv_fds(channel, 1, MOST_FOLDERS, socket.MSG_DONTWAIT)
            self.folders_pending = False
            if handles:
                self.usage.out, *self.usage.memory_folders = [Path(f"{DESCRIPTORS}{handle}") for handle in handles]
                channel.send(b"O")

    def watch(self, child: "subprocess.Popen[bytes]") -> int | None:
        """Poll until the candidate exits or exceeds a limit; return its exit status, None if a limit ended it."""
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        next_poll = 0.0
        with self.log_path.open("wb") as log:
            while True:
                watched = [child.stdout] if self.output_open else []
                watched += [self.job["channel"]] if self.folders_pending else []
                ready = select.select(watched, [], [], POLL_SECONDS / 2)[0]
                if child.stdout in ready:
                    self.copy_log(child.stdout.fileno(), log)
                if self.job["channel"] in ready:
                    with contextlib.suppress(BlockingIOError, ConnectionError, BrokenPipeError):
                        self.receive_folders()
                status = child.poll()
                if status is None and time.monotonic() >= next_poll:
                    self.release_data()
                    if self.usage.out:
                        outputs.follow(self.usage.out, Path(self.job["collect"] or os.devnull), self.job["follow"])
                    self.reason = self.reason or self.usage.exceeded_limit()
                    next_poll = time.monotonic() + POLL_SECONDS
                if self.reason or status is not None:
                    self.copy_log(child.stdout.fileno(), log)
                    return status

    def copy_log(self, pipe: int, log: Any) -> None:
        """Copy what the job has printed to its log, up to the limit."""
        with contextlib.suppress(BlockingIOError):
            while self.output_open:
                part = os.read(pipe, 1 << 16)
                self.output_open = bool(part)  # it may have closed its end and go on
                room = self.limits["log_bytes"] - self.log_bytes
                log.write(part[: max(room, 0)])
                self.log_bytes += len(part)
                if self.log_bytes > self.limits["log_bytes"]:
                    self.reason = "log"
                    return

    def release_data(self) -> None:
        """Show the candidate its training shards and start its clock, once it has reported that it is ready."""
        if self.usage.clock or self.usage.out is None or not os.path.lexists(self.usage.out / "ready"):
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
        self.usage.clock = (time.monotonic(), self.usage.cpu_seconds(process_tree.sample(os.getpid())))


def _machine_oom_kills() -> int:
    """Return the number of processes that this machine's out-of-memory killer has killed so far."""
    with contextlib.suppress(OSError):
        lines = [line.split() for line in Path("/proc/vmstat").read_text(encoding="utf-8").splitlines()]
        return next((int(value) for name, value in lines if name == "oom_kill"), 0)
    return 0


def _raise_stop(*_: object) -> None:
    raise Stop


if __name__ == "__main__":
    print(json.dumps(Supervisor(json.load(sys.stdin)).run()))

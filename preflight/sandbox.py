"""The only place that starts code from base/: what a job sees, may spend, and leaves behind.

The walls themselves are in preflight/walls.py; preflight/warden.py is the process that watches a job.
"""

import contextlib
import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from data.errors import Refused, SandboxError
from preflight import process_tree, syscalls
from preflight.leftovers import LOCK_NAME, discard, marker
from preflight.walls import clean_environment, wrap

SOCKET_NAME = "socket"  # in OUT, which is the candidate's working directory
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Limits:
    """What one job may spend; wall and CPU seconds count from the release of its data, if it has any."""

    wall_seconds: float
    cpu_seconds: float
    setup_seconds: float = 120.0  # before OUT/ready, by the wall
    setup_cpu_seconds: float = 120.0  # before OUT/ready
    memory_bytes: int = 8 << 30
    disk_bytes: int = 1 << 30
    temporary_bytes: int = 256 << 20  # of /tmp and /dev/shm each, where they are file systems of their own
    files: int = 2_000
    log_bytes: int = 4 << 20
    processes: int = 64
    threads: int = 1_024


@dataclass(frozen=True)
class Job:
    """One phase of a candidate, as a foreign program: its command, its view of the disk, its limits."""

    command: tuple[str, ...]
    folder: Path  # of this job alone: out/, log.txt and scratch/ are made below it
    limits: Limits
    readable: tuple[Path, ...] = ()  # files and folders, at their own paths
    environment: Mapping[str, str] = field(default_factory=dict)  # added to the allow-list
    release: tuple[Path, Path] | None = None  # shards to link, and the readable folder they appear in
    ranks: int = 1  # several meet on loopback
    internet: bool = False  # for a proposer's program, never for a candidate
    stdin: Path | None = None
    level: str = "none"

    @property
    def out(self) -> Path:
        """The one folder the candidate can write."""
        return self.folder / "out"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"


@dataclass(frozen=True)
class Outcome:
    """How a job ended; times and memory are the kernel's counts for its whole process tree."""

    status: int | None  # exit status; None when a limit ended it
    reason: str  # the limit that ended it: setup setup_cpu wall cpu memory processes disk log stopped
    setup_seconds: float
    setup_cpu_seconds: float
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int

    @property
    def ok(self) -> bool:
        return self.status == 0 and not self.reason


class Running:
    """A started job; `socket` is the harness's end of its conversation, or where the candidate will connect."""

    def __init__(self, job: Job, process: "subprocess.Popen[str]", ours: socket.socket | None) -> None:
        self.job, self.process, self.socket = job, process, ours
        self.listening = job.ranks > 1
        self._outcome: Outcome | None = None

    def connect(self) -> socket.socket | None:
        """The conversation's socket; None if the job ended before it connected."""
        while self.socket and self.listening:
            self.socket.settimeout(0.2)
            try:
                listener, (self.socket, _) = self.socket, self.socket.accept()
                listener.close()
                self.listening = False
            except TimeoutError:
                if self.process.poll() is not None:
                    return None
        return self.socket

    def cpu_seconds(self) -> float:
        """CPU seconds of the candidate's tree so far."""
        return process_tree.sample(self.process.pid).cpu_seconds

    def wait(self) -> Outcome:
        if self._outcome is None:
            report = "" if self.process.stdout is None or self.process.stdout.closed else self.process.communicate()[0]
            try:
                self._outcome = Outcome(**json.loads(report))
            except (ValueError, TypeError) as error:
                process_tree.end_marked(marker(self.job.folder))
                raise SandboxError(f"the warden ended with {self.process.returncode} and no report") from error
        return self._outcome

    def settle(self, seconds: float = 10.0) -> Outcome | None:
        """The outcome if the job ends by itself within `seconds`."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return self.wait()

    def stop(self) -> Outcome:
        """End the job now, whatever it is doing."""
        self.process.terminate()
        return self.wait()


@contextmanager
def start(job: Job, converse: bool = False) -> Iterator[Running]:
    """Start a job; it is over, with every descendant, when the context is left.

    With `converse`, the argument {socket} becomes the address of a socket whose other end is `Running.connect()`: an
    inherited one, which needs no right to open sockets, or a path in OUT where torchrun stands between.
    """
    job.out.mkdir(parents=True, exist_ok=True)  # a proposer's program finds its copy there
    scratch = job.folder / "scratch"
    scratch.mkdir()
    ours, theirs = socket.socketpair() if converse and job.ranks == 1 else (None, None)
    if converse and job.ranks > 1:
        ours = _listen(job.out)
    calls = os.memfd_create("system call filter")
    os.write(calls, syscalls.program(groups=job.ranks > 1 or job.internet, unix=not job.internet))
    os.lseek(calls, 0, os.SEEK_SET)
    handed = (calls, theirs.fileno()) if theirs else (calls,)
    process = subprocess.Popen(
        [sys.executable, "-m", "preflight.warden"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the harness, which then ends its jobs in order
        cwd=ROOT,
        env={"LANG": "C.UTF-8", "PATH": os.defpath},
        pass_fds=handed,
    )
    running = Running(job, process, ours)
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(_warden_job(job, scratch, handed)))
        process.stdin.close()
        process.stdin = None
        os.close(calls)
        if theirs:
            theirs.close()
        yield running
    finally:
        with contextlib.suppress(SandboxError):  # a warden without a report has been named already, or nobody waits
            running.stop()
        if running.socket:
            running.socket.close()
        discard(scratch)


def run(job: Job) -> Outcome:
    """Run a job to its end."""
    with start(job) as running:
        return running.wait()


def take(out: Path, name: str, cap_bytes: int, store: Path) -> str:
    """Copy `out`/name into the harness's own store and return its sha256.

    Only a plain file with one name counts, never more than `cap_bytes`, and only what was copied is used from then on.
    """
    try:
        handle = os.open(out / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Refused("crash", f"{name}: expected a plain file in OUT, found {error.strerror}") from error
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
        os.close(handle)
        raise Refused("crash", f"{name}: expected a plain file with one link in OUT")
    with os.fdopen(handle, "rb") as source:
        if info.st_size > cap_bytes:
            raise Refused("oversize", f"{name}: got {info.st_size} bytes, expected at most {cap_bytes}")
        content = source.read(cap_bytes + 1)
    if len(content) > cap_bytes:
        raise Refused("oversize", f"{name}: grew past {cap_bytes} bytes")
    store.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _listen(folder: Path) -> socket.socket:
    """A Unix socket in `folder`, bound through /proc because such paths may have 107 bytes only."""
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"/proc/self/fd/{handle}/{SOCKET_NAME}")
    listener.listen(1)
    os.close(handle)
    return listener


def _warden_job(job: Job, scratch: Path, handed: tuple[int, ...]) -> dict[str, object]:
    """The warden's orders; `handed` are the descriptors of the system call filter and, maybe, of the socket."""
    temporary = Path("/tmp") if job.level == "namespace" else scratch
    address = f"fd:{handed[-1]}" if job.ranks == 1 else SOCKET_NAME
    command = [argument.replace("{socket}", address) for argument in job.command]
    network = "internet" if job.internet else "loopback" if job.ranks > 1 else "none"
    command = wrap(command, job.level, job.readable, job.out, scratch, handed[0], network, job.limits.temporary_bytes)
    return {
        "command": command,
        "environment": {
            **clean_environment(temporary),
            **({"GLOO_SOCKET_IFNAME": "lo"} if job.ranks > 1 else {}),
            **job.environment,
            **dict([marker(job.folder).split("=", 1)]),
        },
        "lock": str(job.folder / LOCK_NAME),
        "parent": os.getpid(),
        "out": str(job.out),
        "log": str(job.log),
        "writable": [str(job.out), str(scratch)],
        "release": [str(path) for path in job.release] if job.release else [],
        "stdin": str(job.stdin or os.devnull),
        "pass_fds": handed,
        "limits": asdict(job.limits),
    }

"""The only place that starts code from base/: which walls this machine has, what a job sees, what comes back out.

Levels, best first: `namespace` (bubblewrap: own mounts, processes, network), `landlock` (kernel rules and a system
call filter, for containers without namespaces), `none` (limits and a clean environment only).
"""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from data.errors import Refused, SandboxError
from preflight import landlock, process_tree, syscalls

LEVELS = ("namespace", "landlock", "none")
SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/hosts",
    "/etc/nsswitch.conf",
)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
KERNEL_FACTS = ("/proc/cpuinfo", "/proc/meminfo", "/proc/self", "/sys/devices", "/sys/bus/pci", "/sys/class/net")
TMPFS_BYTES = 1 << 28
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
    files: int = 2_000
    log_bytes: int = 4 << 20
    processes: int = 64
    threads: int = 1_024


@dataclass(frozen=True)
class Job:
    """One phase of a candidate, as a foreign program: its command, its view of the disk, its limits."""

    arguments: tuple[str, ...]  # of the bundle, after the interpreter
    folder: Path  # of this job alone: out/, log.txt and scratch/ are made below it
    limits: Limits
    readable: tuple[Path, ...] = ()  # files and folders, at their own paths
    environment: Mapping[str, str] = field(default_factory=dict)  # added to the allow-list
    release: tuple[Path, Path] | None = None  # shards to link, and the readable folder they appear in
    ranks: int = 1
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


@functools.cache
def available_levels() -> tuple[str, ...]:
    """Levels that work on this machine, best first; each is tried, not assumed."""
    found = []
    if shutil.which("bwrap"):
        probe = subprocess.run([*_bubblewrap((), Path(tempfile.gettempdir())), "/bin/true"], capture_output=True)
        found += ["namespace"] if probe.returncode == 0 else []
    found += ["landlock"] if landlock.abi() > 0 else []
    return (*found, "none")


class Running:
    """A started job; `socket` is the harness's end of its conversation, or where the candidate will connect."""

    def __init__(self, process: "subprocess.Popen[str]", ours: socket.socket | None, listening: bool) -> None:
        self.process, self.socket, self.listening = process, ours, listening
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
    job.out.mkdir(parents=True)
    scratch = job.folder / "scratch"
    scratch.mkdir()
    ours, theirs = socket.socketpair() if converse and job.ranks == 1 else (None, None)
    if converse and job.ranks > 1:
        ours = _listen(job.out)
    calls = os.memfd_create("system call filter")
    os.write(calls, syscalls.program(groups=job.ranks > 1))
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
    assert process.stdin is not None
    process.stdin.write(json.dumps(_warden_job(job, scratch, handed)))
    process.stdin.close()
    process.stdin = None
    os.close(calls)
    if theirs:
        theirs.close()
    running = Running(process, ours, listening=job.ranks > 1)
    try:
        yield running
    finally:
        with contextlib.suppress(SandboxError):  # a warden without a report has been named already, or nobody waits
            running.stop()
        if running.socket:
            running.socket.close()
        discard(scratch)


def discard(folder: Path) -> None:
    """Remove what a candidate may have shaped: `rm` has no depth or path length at which it gives up."""
    subprocess.run(["rm", "-rf", "--", str(folder)], capture_output=True)


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
    command = [argument.replace("{socket}", address) for argument in _program(job)]
    readable = (*job.readable, *_interpreter())
    if job.level == "namespace":
        command = [*_bubblewrap(readable, job.out, handed[0]), *command]
    elif job.level == "landlock":
        read = [*SYSTEM, *KERNEL_FACTS, *map(str, readable)]
        write = [str(job.out), str(scratch), *DEVICES, *_gpu_devices()]
        network = job.ranks > 1  # torchrun's ranks meet on loopback, which Landlock cannot tell from the rest
        more: list[syscalls.Calls] = [syscalls.ATTRIBUTES, {} if network else syscalls.SOCKETS]
        more += [syscalls.SIGNALS] if landlock.abi() < 6 and not network else []
        calls = syscalls.program(*more, groups=network)
        spec = json.dumps({"read": read, "write": write, "network": network, "filter": calls.hex()})
        command = [sys.executable, "-I", "-S", landlock.__file__, spec, "--", *command]
    elif job.level != "none":
        raise SandboxError(f"unknown sandbox level {job.level!r}; expected one of {', '.join(LEVELS)}")
    return {
        "command": command,
        "environment": {
            **clean_environment(temporary),
            **({"GLOO_SOCKET_IFNAME": "lo"} if job.ranks > 1 else {}),
            **job.environment,
        },
        "out": str(job.out),
        "log": str(job.log),
        "writable": [str(job.out), str(scratch)],
        "release": [str(path) for path in job.release] if job.release else [],
        "pass_fds": handed,
        "limits": asdict(job.limits),
    }


def _program(job: Job) -> list[str]:
    if job.ranks == 1:
        return [sys.executable, *job.arguments]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={job.ranks}"]
    return [sys.executable, *launcher, *job.arguments]


def clean_environment(temporary: Path) -> dict[str, str]:
    """All of the environment that a candidate gets: nothing is passed on, every cache is its own."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
        "LANG": "C.UTF-8",
        "USER": "caddie",
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "XDG_CACHE_HOME": str(temporary),
        "TORCHINDUCTOR_CACHE_DIR": str(temporary / "inductor"),
        "TRITON_CACHE_DIR": str(temporary / "triton"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }


def _interpreter() -> tuple[Path, ...]:
    """Where Python and its packages live: the virtual environment and what it was made from."""
    return tuple(sorted({Path(sys.prefix), Path(sys.base_prefix)}))


def _gpu_devices() -> list[str]:
    return [str(path) for path in sorted(Path("/dev").glob("nvidia*"))]


def _bubblewrap(readable: tuple[Path, ...], out: Path, calls: int | None = None) -> list[str]:
    """The bubblewrap command line up to the program: an empty root, then only what is named."""
    arguments = ["bwrap", "--unshare-all", "--die-with-parent", "--cap-drop", "ALL", "--hostname", "localhost"]
    for path in map(Path, SYSTEM):
        if path.is_symlink() and path.parent == Path("/"):
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists():
            arguments += ["--ro-bind", str(path), str(path)]
    arguments += ["--proc", "/proc", "--dev", "/dev", "--ro-bind-try", "/sys", "/sys"]
    for device in _gpu_devices():
        arguments += ["--dev-bind", device, device]
    for folder in ("/tmp", "/dev/shm"):
        arguments += ["--size", str(TMPFS_BYTES), "--tmpfs", folder]
    for path in readable:
        arguments += ["--ro-bind", str(path), str(path)]
    arguments += ["--seccomp", str(calls)] if calls is not None else []
    return [*arguments, "--bind", str(out), str(out), "--remount-ro", "/", "--chdir", str(out), "--"]

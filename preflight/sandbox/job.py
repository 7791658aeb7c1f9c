"""A job as data, and the handle of one that runs: what it sees, may spend, and leaves behind."""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import Refused
from data.state import State

SOCKET_NAME = "socket"
RELEASED = "train"  # the folder that appears in the view when the clock starts
SPARE_BYTES = 256 << 20  # free space that a job must leave to the machine
ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Limits:
    """What one job may spend; wall and CPU seconds count from the release of its data, if it has any."""

    wall_seconds: float
    cpu_seconds: float
    setup_seconds: float = 120.0  # before OUT/ready, by the wall
    setup_cpu_seconds: float = 120.0  # before OUT/ready, free; what is more counts in cpu_seconds
    memory_bytes: int = 8 << 30
    disk_bytes: int = 1 << 30
    temporary_bytes: int = 256 << 20  # of /tmp and /dev/shm each, where they are file systems of their own
    files: int = 2_000
    log_bytes: int = 4 << 20
    processes: int = 64
    threads: int = 1_024


@dataclass(frozen=True)
class Job:
    """One phase of a candidate, as a foreign program: its command, its view of the disk, its limits.

    In `command` and `environment`, {in}, {out} and {socket} stand for where the job finds its inputs, its working
    directory and the referee: at the same places for every job, so that none can tell what it is for.
    """

    command: tuple[str, ...]
    folder: Path  # of the harness alone: out/ and log.txt are made below it, which no job sees
    limits: Limits
    inputs: Mapping[str, Path] = field(default_factory=dict)  # {in}/name -> a file or folder
    environment: Mapping[str, str] = field(default_factory=dict)  # added to the allow-list
    release: tuple[Path, str] | None = None  # shards, and the name of the input folder in which they appear as train/
    ranks: int = 1  # several meet on loopback
    follow: tuple[str, ...] = ()  # files of OUT that are copied while the job runs
    level: str = "none"
    host_paths: tuple[Path, ...] = ()  # shown at their own paths, with the machine's own programs and the internet:
    internet: bool = False  # for a proposer's program, never for a candidate; its OUT is the folder out/ itself
    stdin: Path | None = None

    @property
    def out(self) -> Path:
        """The plain files that the job has left, once it is over."""
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
    machine_out_of_memory: bool = False  # the kernel ended processes of this machine meanwhile

    @property
    def ok(self) -> bool:
        return self.status == 0 and not self.reason


def take(out: Path, name: str, cap_bytes: int, store: Path) -> str:
    """Copy `out`/name into the harness's own store and return its sha256.

    Only a plain file with one name counts, never more than `cap_bytes`, and only what was copied is used from then on.
    """
    try:
        handle = os.open(out / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(State.CRASH, f"{name}: expected a plain file in OUT, found {error.strerror}") from error
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
        os.close(handle)
        raise Refused(State.CRASH, f"{name}: expected a plain file with one link in OUT")
    with os.fdopen(handle, "rb") as source:
        content = source.read(max(cap_bytes + 1, 0))
    if (found := max(info.st_size, len(content))) > cap_bytes:
        message = f"{name}: got {found:,} bytes, expected at most {cap_bytes:,}"
        raise Refused(State.OVERSIZE, message, spent={f"{Path(name).stem}_bytes": (found, cap_bytes)})
    store.write_bytes(content)
    return hashlib.sha256(content).hexdigest()

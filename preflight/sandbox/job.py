"""A sandboxed job as plain data: its command, inputs and limits, how it ended, and how an output file is collected."""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import Refused
from common.state import State


@dataclass(frozen=True)
class Limits:
    """Resources that one job may use; wall and CPU seconds count from the release of its data, if it has any."""

    wall_seconds: float
    cpu_seconds: float
    setup_seconds: float = 120.0  # wall time before OUT/ready
    setup_cpu_seconds: float = 120.0  # before OUT/ready, free of charge; any excess counts in cpu_seconds
    memory_bytes: int = 8 << 30
    disk_bytes: int = 1 << 30
    temporary_bytes: int = 256 << 20  # of /tmp and /dev/shm each, where they are file systems of their own
    files: int = 2_000
    log_bytes: int = 4 << 20
    processes: int = 64
    threads: int = 1_024


@dataclass(frozen=True)
class Job:
    """One phase of a candidate as an untrusted program: its command, its view of the disk, its limits.

    In `command` and `environment`, {in}, {out} and {socket} stand for the paths of the job's inputs, its working
    directory and the referee: the same paths for every job, so that none can tell what it is for.

    Example:
        job = Job((sys.executable, "{in}/train.py"), Path("trials/7"), Limits(60, 60), inputs={"train.py": script},
                  level="namespace")
        outcome = run(job)  # preflight.sandbox.start.run
        if outcome.ok:
            digest = collect_output(job.out, "weights.npz", 1 << 20, Path("weights.npz"))
    """

    command: tuple[str, ...]
    folder: Path  # of the harness alone: out/ and log.txt are made below it, and no job sees it
    limits: Limits
    inputs: Mapping[str, Path] = field(default_factory=dict)  # {in}/name -> a file or folder
    environment: Mapping[str, str] = field(default_factory=dict)  # added to the allow-list
    release: tuple[Path, str] | None = None  # shards, and the name of the input folder in which they appear as train/
    ranks: int = 1  # several meet on loopback
    follow: tuple[str, ...] = ()  # files of OUT that are copied while the job runs
    level: str = "none"
    # The next two are for a proposer's program, never for a candidate
    host_paths: tuple[Path, ...] = ()  # visible at their own paths, next to the machine's own programs
    internet: bool = False  # network access; the job's OUT is then the folder out/ itself
    stdin: Path | None = None

    @property
    def out(self) -> Path:
        """The plain files that the job has left, once it is over."""
        return self.folder / "out"

    @property
    def log(self) -> Path:
        """The job's standard output and standard error."""
        return self.folder / "log.txt"


@dataclass(frozen=True)
class Outcome:
    """The end of a job; times and memory are the kernel's counts for its whole process tree."""

    status: int | None  # exit status; None when a limit ended it
    reason: str  # the limit that ended it: setup setup_cpu wall cpu memory processes disk log stopped
    setup_seconds: float
    setup_cpu_seconds: float
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    machine_out_of_memory: bool = False  # the kernel killed processes of this machine meanwhile

    @property
    def ok(self) -> bool:
        """True if the program exited with status 0 within its limits."""
        return self.status == 0 and not self.reason


def collect_output(out: Path, name: str, cap_bytes: int, store: Path) -> str:
    """Copy `out`/name into the harness's own store and return its sha256.

    Only the copy is used from then on, so a file that is replaced later changes nothing.

    Args:
        out: the folder that the job has left.
        name: the file in it; it must be a plain file with a single link.
        cap_bytes: the most bytes that are read.
        store: the path of the copy.

    Raises:
        Refused: the file is missing, not a plain file with one link, or larger than `cap_bytes`.
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
    if (size := max(info.st_size, len(content))) > cap_bytes:
        message = f"{name}: got {size:,} bytes, expected at most {cap_bytes:,}"
        raise Refused(State.OVERSIZE, message, spent={f"{Path(name).stem}_bytes": (size, cap_bytes)})
    store.write_bytes(content)
    return hashlib.sha256(content).hexdigest()

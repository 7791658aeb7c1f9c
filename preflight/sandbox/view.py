"""What a job sees and may do, apart from its command, and where it finds it."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from preflight.sandbox.image import Image
from preflight.sandbox.image_files import PREFIXES
from preflight.sandbox.seccomp import Needs

# In a namespace every job finds its things at the same places
OUT, IN, WIRE, START = "/job/out", "/job/in", "/job/wire", "/job/start.py"
MEMORY_FOLDERS = ("/tmp", "/dev/shm")
STAYS_FOR_GPUS = ("driver", "devices")  # of /proc: the driver's version, and the numbers of its devices
HOST_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
NAMES = ("localtime", "hosts", "nsswitch.conf", "resolv.conf", "ssl", "ca-certificates", "pki", "bash.bashrc")
HOST_FACTS = tuple(f"/etc/{name}" for name in NAMES)


@dataclass(frozen=True)
class View:
    """What a job sees and may do, apart from its command."""

    workspace: Path  # of this job alone, with a random name; at `landlock` in/, out/ and scratch/ stand in it
    image: Image | None  # what a candidate runs on; None for a proposer's program, which has the machine's own files
    inputs: Mapping[str, Path] = field(default_factory=dict)  # files and folders, by their names in IN
    host_paths: tuple[Path, ...] = ()  # at their own paths: for a proposer's program alone
    out: Path | None = None  # a folder of the machine to write to; None = a file system of the job's own
    needs: Needs = Needs()
    referee_port: int = 0  # where the ranks of a scorer connect that has no network of its own; 0 = nowhere
    disk_bytes: int = 1 << 30
    temporary_bytes: int = 256 << 20
    threads: int = 1_024


def places(level: str, view: View) -> dict[str, str]:
    """Where a job finds its inputs, its working directory and the referee's socket, for its command line."""
    if level == "namespace":
        return {"in": IN, "out": str(view.out or OUT), "wire": WIRE}
    folder = view.workspace
    return {"in": str(folder / "in"), "out": str(view.out or folder / "out"), "wire": str(folder / "wire")}


def interpreter_folders() -> list[str]:
    """Where Python and its packages live: the virtual environment and what it was made from, by every path to them."""
    return sorted({sys.prefix, sys.base_prefix, *map(str, PREFIXES)})


def gpu_devices() -> list[str]:
    return [str(path) for path in sorted(Path("/dev").glob("nvidia*"))]

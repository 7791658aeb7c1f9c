"""The view of a job: everything it sees and may do, apart from its command, and the paths at which it finds it."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from preflight.sandbox.image.files import PREFIXES
from preflight.sandbox.image.image import Image
from preflight.sandbox.isolation.seccomp import Needs

# In a namespace these paths are the same for every job
OUT, IN, WIRE, START = "/job/out", "/job/in", "/job/wire", "/job/start.py"
MEMORY_FOLDERS = ("/tmp", "/dev/shm")
PROC_FOR_GPUS = ("driver", "devices")  # files of /proc: the driver's version, and the numbers of its devices
HOST_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
ETC_FILES = ("localtime", "hosts", "nsswitch.conf", "resolv.conf", "ssl", "ca-certificates", "pki", "bash.bashrc")
HOST_FACTS = tuple(f"/etc/{name}" for name in ETC_FILES)


@dataclass(frozen=True)
class View:
    """Everything a job sees and may do, apart from its command."""

    workspace: Path  # of this job alone, with a random name; at `landlock` it contains in/, out/ and scratch/
    image: Image | None  # the files a candidate runs on; None for a proposer's program, which has the machine's own
    inputs: Mapping[str, Path] = field(default_factory=dict)  # files and folders, by their names in IN
    host_paths: tuple[Path, ...] = ()  # visible at their own paths: for a proposer's program alone
    out: Path | None = None  # a folder of the machine to write to; None = a file system of the job's own
    needs: Needs = Needs()
    referee_port: int = 0  # to which a scorer's ranks connect when it has no network of its own; 0 = none
    disk_bytes: int = 1 << 30
    temporary_bytes: int = 256 << 20
    threads: int = 1_024


def job_paths(level: str, view: View) -> dict[str, str]:
    """Return the paths of a job's inputs, working directory and referee socket, as the job itself has to write them."""
    if level == "namespace":
        return {"in": IN, "out": str(view.out or OUT), "wire": WIRE}
    folder = view.workspace
    return {"in": str(folder / "in"), "out": str(view.out or folder / "out"), "wire": str(folder / "wire")}


def interpreter_folders() -> list[str]:
    """Return the folders of Python and its packages: the virtual environment and its base, by every path to them."""
    return sorted({sys.prefix, sys.base_prefix, *map(str, PREFIXES)})


def gpu_devices() -> list[str]:
    """Return the paths of this machine's NVIDIA devices."""
    return [str(path) for path in sorted(Path("/dev").glob("nvidia*"))]

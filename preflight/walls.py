"""What stands between a candidate and the machine: which walls work here, and a command put behind them.

Levels, best first: `namespace` (bubblewrap: own mounts, processes, network), `landlock` (kernel rules and a system
call filter, for containers without namespaces), `none` (limits and a clean environment only).
"""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from data.errors import SandboxError
from preflight import landlock, syscalls

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
INTERNET_FACTS = tuple(map(Path, ("/etc/resolv.conf", "/etc/ssl", "/etc/ca-certificates", "/etc/pki")))
KERNEL_FACTS = ("/proc/cpuinfo", "/proc/meminfo", "/proc/self", "/sys/devices", "/sys/bus/pci", "/sys/class/net")


@functools.cache
def available_levels() -> tuple[str, ...]:
    """Levels that work on this machine, best first; each is tried, not assumed."""
    found = []
    if shutil.which("bwrap"):
        probe = subprocess.run([*_bubblewrap((), Path(tempfile.gettempdir())), "/bin/true"], capture_output=True)
        found += ["namespace"] if probe.returncode == 0 else []
    found += ["landlock"] if landlock.abi() > 0 else []
    return (*found, "none")


def wrap(
    command: list[str],
    level: str,
    readable: tuple[Path, ...],
    out: Path,
    scratch: Path,
    calls: int,
    network: str,
    temporary_bytes: int,
) -> list[str]:
    """`command` behind the walls of `level`: it reads the system, Python and `readable`, and writes `out`.

    `scratch` is its temporary folder where it has no file system of its own, `calls` an open system call filter;
    `network` is none, loopback (where ranks meet) or internet (a proposer's program).
    """
    readable = (*readable, *_interpreter())
    if network == "internet":
        readable += tuple(path for path in INTERNET_FACTS if path.exists())
    if level == "namespace":
        share = ["--share-net"] if network == "internet" else []
        return [*_bubblewrap(readable, out, calls, temporary_bytes, share), *command]
    if level == "landlock":
        read = [*SYSTEM, *KERNEL_FACTS, *map(str, readable)]
        write = [str(out), str(scratch), *DEVICES, *_gpu_devices()]
        more: list[syscalls.Calls] = [syscalls.ATTRIBUTES, syscalls.SOCKETS if network == "none" else {}]
        more += [syscalls.SIGNALS] if landlock.abi() < 6 and network != "loopback" else []
        program = syscalls.program(*more, groups=network != "none", unix=network != "internet")
        spec = json.dumps({"read": read, "write": write, "network": network != "none", "filter": program.hex()})
        return [sys.executable, "-I", "-S", landlock.__file__, spec, "--", *command]
    if level != "none":
        raise SandboxError(f"unknown sandbox level {level!r}; expected one of {', '.join(LEVELS)}")
    return command


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


def _bubblewrap(
    readable: tuple[Path, ...],
    out: Path,
    calls: int | None = None,
    temporary_bytes: int = 1 << 20,
    share: Iterable[str] = (),
) -> list[str]:
    """The bubblewrap command line up to the program: an empty root, then only what is named."""
    arguments = ["bwrap", "--unshare-all", *share, "--die-with-parent", "--cap-drop", "ALL", "--hostname", "localhost"]
    for path in map(Path, SYSTEM):
        if path.is_symlink() and path.parent == Path("/"):
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists():
            arguments += ["--ro-bind", str(path), str(path)]
    arguments += ["--proc", "/proc", "--dev", "/dev", "--ro-bind-try", "/sys", "/sys"]
    for device in _gpu_devices():
        arguments += ["--dev-bind", device, device]
    for folder in ("/tmp", "/dev/shm"):
        arguments += ["--size", str(temporary_bytes), "--tmpfs", folder]
    for path in readable:
        arguments += ["--ro-bind", str(path), str(path)]
    arguments += ["--seccomp", str(calls)] if calls is not None else []
    return [*arguments, "--bind", str(out), str(out), "--remount-ro", "/", "--chdir", str(out), "--"]

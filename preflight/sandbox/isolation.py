"""What stands between a job and the machine: which levels work here, and a command put behind one of them.

Levels, best first: `namespace` (bubblewrap: own mounts, processes, network), `landlock` (kernel rules and the system
call filter, for containers without namespaces), `none` (limits and a clean environment only). At both real levels a
job of root runs as a user of its own, on the files of preflight/sandbox/image.py, behind one system call filter.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import randbits

from data.errors import SandboxError
from preflight.sandbox import landlock, ports, seccomp
from preflight.sandbox.image import SLACK_BYTES, Image, processors
from preflight.sandbox.seccomp import Needs

LEVELS = ("namespace", "landlock", "none")
HOST_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
HOST_FACTS = (
    "/etc/localtime",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/ssl",
    "/etc/ca-certificates",
    "/etc/pki",
)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
COPIED_FACTS = ("/proc/cpuinfo", "/proc/meminfo")  # still copies in a namespace
OF_A_PROCESS = (
    "cgroup",
    "cmdline",
    "comm",
    "environ",
    "exe",
    "fd",
    "limits",
    "maps",
    "stat",
    "statm",
    "status",
    "task",
)
PROCESS_FACTS = tuple(f"/proc/self/{name}" for name in OF_A_PROCESS)
NETWORK_FACTS = ("/sys/bus/pci", "/sys/class/net", "/sys/devices")  # gloo looks for the fastest device
GPU_FACTS = ("/proc/driver/nvidia", "/proc/devices", "/proc/meminfo", "/sys/devices", "/sys/bus/pci", "/sys/class/net")
OUT, IN, WIRE, START = (
    "/job/out",
    "/job/in",
    "/job/wire",
    "/job/start.py",
)  # in a namespace every job finds its things at the same places
STAYS_FOR_GPUS = ("driver", "devices", "meminfo")
STAYS_FOR_PROPOSERS = ("sys", "stat", "uptime", "loadavg", "version", "meminfo", "cpuinfo", "filesystems")
MEMORY_FOLDERS = ("/tmp", "/dev/shm")
SIGNALS_SINCE = 6  # Landlock's version that keeps signals in the job
OPEN_FILES = 1024


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


@dataclass(frozen=True)
class Isolated:
    """A command behind its walls, and the descriptors that it needs until it is started."""

    command: list[str]
    environment: dict[str, str]
    descriptors: tuple[int, ...]
    user: int | None


@functools.cache
def available_levels() -> tuple[str, ...]:
    """Levels that work on this machine, best first; each is tried, not assumed."""
    found = []
    if shutil.which("bwrap"):
        trial = [*_namespaces(Needs()), "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "/bin/true"]
        found += ["namespace"] if subprocess.run(trial, capture_output=True).returncode == 0 else []
    found += ["landlock"] if landlock.abi() > 0 else []
    return (*found, "none")


def places(level: str, view: View) -> dict[str, str]:
    """Where a job finds its inputs, its working directory and the referee's socket, for its command line."""
    if level == "namespace":
        return {"in": IN, "out": str(view.out or OUT), "wire": WIRE}
    folder = view.workspace
    return {"in": str(folder / "in"), "out": str(view.out or folder / "out"), "wire": str(folder / "wire")}


def isolated(command: list[str], level: str, view: View, channel: int | None, conversation: int | None) -> Isolated:
    """`command` behind the walls of `level`; over `channel` the job's OUT is handed to the supervisor.

    `conversation` is the descriptor that a scorer inherits.
    """
    if level not in LEVELS:
        raise SandboxError(f"unknown sandbox level {level!r}; expected one of {', '.join(LEVELS)}")
    user = (1 << 30) + randbits(28) if os.geteuid() == 0 and level != "none" and not view.needs.proposer else None
    if level != "namespace":
        _lay_out(view, user)
    if level == "none":
        return Isolated(command, {}, (), None)
    at = places(level, view)
    scoped = level == "namespace" or user is not None or landlock.abi() >= SIGNALS_SINCE
    needs = replace(view.needs, own_signals=scoped or view.needs.ranks)
    spec: dict[str, object] = {
        "channel": channel,
        "conversation": conversation,
        "writable": [at["out"], *(MEMORY_FOLDERS if level == "namespace" else ())],
        "user": user,
        "limits": _limits(view, user),
        "filter": seccomp.program(needs).hex(),
        "landlock": _landlock_rules(view, level, at),
    }
    handle = _in_memory(json.dumps(spec).encode())
    last_step = ["-I", "-S"]
    if level == "namespace":
        mounts, descriptors = _mounts(view)
        start = [sys.executable, *last_step, START, str(handle), "--", *command]
        return Isolated([*_namespaces(view.needs, user is not None), *mounts, *start], {}, (*descriptors, handle), user)
    if view.needs.proposer:
        return Isolated(
            [sys.executable, *last_step, landlock.__file__, str(handle), "--", *command], {}, (handle,), user
        )
    assert view.image is not None
    used = view.image
    python = str(used.inside(Path(sys.executable).resolve()))
    inner = [python if part == sys.executable else part for part in command]
    outer = [sys.executable, *last_step, landlock.__file__, str(handle), "--", *inner]
    return Isolated(outer, used.python_environment(), (handle,), user)


def clean_environment(temporary: str) -> dict[str, str]:
    """All of the environment that a candidate gets: nothing is passed on, every cache is its own."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
        "LANG": "C.UTF-8",
        "USER": "caddie",
        "HOME": temporary,
        "TMPDIR": temporary,
        "XDG_CACHE_HOME": temporary,
        "TORCHINDUCTOR_CACHE_DIR": f"{temporary}/inductor",
        "TRITON_CACHE_DIR": f"{temporary}/triton",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }


def _limits(view: View, user: int | None) -> dict[str, int]:
    """What the kernel holds by itself for each process; threads only where they are counted for this job alone."""
    found = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": view.disk_bytes, "RLIMIT_NOFILE": OPEN_FILES, "RLIMIT_MSGQUEUE": 0}
    if user is not None:
        found["RLIMIT_NPROC"] = 2 * view.threads
    return found


def _lay_out(view: View, user: int | None) -> None:
    """Copies of the inputs and the job's own folders, where no mount can show them."""
    inputs = view.workspace / "in"
    inputs.mkdir()
    for name, path in view.inputs.items():
        if path.is_dir():
            (inputs / name).symlink_to(path)
        else:
            shutil.copyfile(path, inputs / name)
            (inputs / name).chmod(0o444)
    for name in ("out", "scratch"):
        (view.workspace / name).mkdir(mode=0o700, exist_ok=True)
        if user is not None:
            os.chown(view.workspace / name, user, user)


def _landlock_rules(view: View, level: str, at: Mapping[str, str]) -> dict[str, object] | None:
    """Paths and ports, as preflight/sandbox/landlock.py takes them; in a namespace they are a second wall.

    Of a process's own folder in /proc only PROCESS_FACTS: the rest says which pages others have mapped, and more.
    """
    needs, connect = view.needs, list[int]()
    if level == "namespace":
        if needs.proposer or not landlock.abi():
            return None
        assert view.image is not None
        read = [f"/{path.name}" for path in sorted(view.image.root.iterdir()) if path.is_dir()]
        read += ["/job", "/sys", *PROCESS_FACTS, *COPIED_FACTS]
        write = [at["out"], *MEMORY_FOLDERS, "/dev"]
    elif needs.proposer:
        read = [*HOST_SYSTEM, *HOST_FACTS, *COPIED_FACTS, "/proc/self", "/sys/devices", *_interpreter()]
        read += map(str, view.host_paths)
        write = [at["out"], str(view.workspace / "scratch"), *DEVICES]
    else:
        assert view.image is not None
        read = [str(view.image.root), *view.image.loaded_by_path(), *PROCESS_FACTS, *COPIED_FACTS[:1], at["in"]]
        read += [str(path) for path in view.inputs.values() if path.is_dir()]
        read += NETWORK_FACTS if needs.ranks else map(str, processors())
        write = [at["out"], str(view.workspace / "scratch"), *DEVICES]
    read += GPU_FACTS if needs.gpu else ()
    write += gpu_devices() if needs.gpu else ()
    if level == "landlock" and not needs.proposer:
        ranks = [*ports.free(), *filter(None, [view.referee_port])] if needs.ranks else None
        return {"read": read, "write": write, "connect": ranks}
    return {"read": read, "write": write, "connect": connect}


def _interpreter() -> list[str]:
    """Where Python and its packages live: the virtual environment and what it was made from."""
    return sorted({sys.prefix, sys.base_prefix})


def gpu_devices() -> list[str]:
    return [str(path) for path in sorted(Path("/dev").glob("nvidia*"))]


def _namespaces(needs: Needs, own_user: bool = False) -> list[str]:
    """bubblewrap, with namespaces of everything but, for a proposer's program, the network."""
    arguments = ["bwrap", "--die-with-parent", "--cap-drop", "ALL", "--hostname", "localhost"]
    if os.geteuid() == 0:
        arguments += ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
        arguments += [] if needs.proposer else ["--unshare-net"]
        return arguments + (["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if own_user else [])
    return [*arguments, "--unshare-all", *(["--share-net"] if needs.proposer else [])]


def _mounts(view: View) -> tuple[list[str], list[int]]:
    """An empty root, then only what is named; with the descriptors of the copies that are made of files."""
    needs = view.needs
    descriptors: list[int] = []
    arguments: list[str] = _image_root(view.image) if view.image else _host_root()
    arguments += ["--proc", "/proc"]
    arguments += _hidden_kernel_files(needs, descriptors)
    if needs.gpu or needs.proposer:  # over the still copy in the image
        arguments += ["--ro-bind-try", "/sys", "/sys"]
    arguments += ["--dev", "/dev"]
    for device in gpu_devices() if needs.gpu else ():
        arguments += ["--dev-bind", device, device]
    for folder in MEMORY_FOLDERS:
        arguments += ["--perms", "1777", "--size", str(view.temporary_bytes), "--tmpfs", folder]
    for shown in (*map(str, view.host_paths), *_interpreter()) if needs.proposer else ():  # one may be below /tmp
        arguments += ["--ro-bind", shown, shown]
    arguments += ["--remount-ro", "/dev", "--dir", "/job", "--dir", IN]
    for place, path in {
        START: Path(landlock.__file__),
        **{f"{IN}/{name}": path for name, path in view.inputs.items()},
    }.items():
        if path.is_dir():
            arguments += ["--ro-bind", str(path), place]
        else:
            descriptors.append(handle := os.open(path, os.O_RDONLY))
            arguments += ["--perms", "0444", "--ro-bind-data", str(handle), place]
    if (view.workspace / "wire").exists():
        arguments += ["--ro-bind", str(view.workspace / "wire"), WIRE]
    if view.out:
        arguments += ["--bind", str(view.out), str(view.out)]
    else:
        arguments += ["--perms", "0777", "--size", str(view.disk_bytes + SLACK_BYTES), "--tmpfs", OUT]
    return [*arguments, "--remount-ro", "/", "--chdir", str(view.out or OUT), "--"], descriptors


def _image_root(used: Image) -> list[str]:
    """The image as the root: every job's own mounts of files that are only read."""
    arguments = []
    for path in sorted(used.root.iterdir()):
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), f"/{path.name}"]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), f"/{path.name}"]
    return arguments


def _host_root() -> list[str]:
    """The machine's own system folders."""
    arguments = []
    for path in map(Path, (*HOST_SYSTEM, *HOST_FACTS)):
        if path.is_symlink() and path.parent == Path("/"):
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists():
            arguments += ["--ro-bind", str(path), str(path)]
    return arguments


def _hidden_kernel_files(needs: Needs, descriptors: list[int]) -> list[str]:
    """Covers for all of /proc that counts for the whole machine or sets something on it; processes stay."""
    arguments = []
    shown = {"cpuinfo": _still(Path("/proc/cpuinfo")), "meminfo": _total_memory()}
    stay = STAYS_FOR_GPUS if needs.gpu else STAYS_FOR_PROPOSERS if needs.proposer else ()
    for path in sorted(Path("/proc").iterdir()):
        if path.name.isdigit() or path.is_symlink():
            continue
        if path.name in stay:
            arguments += ["--ro-bind", str(path), str(path)]
        elif path.is_dir():
            arguments += ["--perms", "0555", "--size", "4096", "--tmpfs", str(path), "--remount-ro", str(path)]
        else:
            descriptors.append(handle := _in_memory(shown.get(path.name, b"")))
            arguments += ["--perms", "0444", "--ro-bind-data", str(handle), str(path)]
    return arguments


def _still(path: Path) -> bytes:
    """A file of the kernel without what changes from moment to moment."""
    return b"".join(line for line in path.read_bytes().splitlines(True) if not line.startswith(b"cpu MHz"))


def _total_memory() -> bytes:
    total = next(line for line in Path("/proc/meminfo").read_bytes().splitlines(True) if line.startswith(b"MemTotal"))
    return total + total.replace(b"MemTotal", b"MemFree") + total.replace(b"MemTotal", b"MemAvailable")


def _in_memory(content: bytes) -> int:
    """A descriptor from which `content` can be read once."""
    handle = os.memfd_create("caddie")
    os.write(handle, content)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle

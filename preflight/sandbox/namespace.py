"""The `namespace` level: bubblewrap's command line, from an empty root to what a job is shown."""

import os
from pathlib import Path

from preflight.sandbox import landlock
from preflight.sandbox.image import SLACK_BYTES, Image
from preflight.sandbox.seccomp import Needs
from preflight.sandbox.view import (
    HOST_FACTS,
    HOST_SYSTEM,
    IN,
    MEMORY_FOLDERS,
    OUT,
    START,
    STAYS_FOR_GPUS,
    WIRE,
    View,
    gpu_devices,
    interpreter_folders,
)

STAYS_FOR_PROPOSERS = ("sys", "stat", "uptime", "loadavg", "version", "meminfo", "cpuinfo", "filesystems")


def namespaces(needs: Needs, own_user: bool = False) -> list[str]:
    """bubblewrap, with namespaces of everything but, for a proposer's program, the network."""
    arguments = ["bwrap", "--die-with-parent", "--cap-drop", "ALL", "--hostname", "localhost"]
    if os.geteuid() == 0:
        arguments += ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
        arguments += [] if needs.proposer else ["--unshare-net"]
        return arguments + (["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if own_user else [])
    return [*arguments, "--unshare-all", *(["--share-net"] if needs.proposer else [])]


def mounts(view: View) -> tuple[list[str], list[int]]:
    """An empty root, then only what is named; with the descriptors of the copies that are made of files."""
    needs = view.needs
    descriptors: list[int] = []
    arguments: list[str] = _image_root(view.image) if view.image else _host_root()
    arguments += ["--proc", "/proc"]
    arguments += _hidden_kernel_files(needs, descriptors)
    if needs.proposer:
        arguments += ["--ro-bind-try", "/sys", "/sys"]
    arguments += ["--dev", "/dev"]
    for device in gpu_devices() if needs.gpu else ():
        arguments += ["--dev-bind", device, device]
    for place in MEMORY_FOLDERS:
        arguments += ["--perms", "1777", "--size", str(view.temporary_bytes), "--tmpfs", place]
        if view.image and (hidden := view.image.inside(place)).is_dir():  # an interpreter that lives there
            arguments += [word for path in sorted(hidden.iterdir()) for word in _shown(path, f"{place}/{path.name}")]
    if needs.proposer:
        for shown in (*map(str, view.host_paths), *interpreter_folders()):  # after /tmp: one may be below it
            arguments += ["--ro-bind", shown, shown]
    arguments += ["--remount-ro", "/dev", "--dir", "/job", "--dir", IN]
    files = {START: Path(landlock.__file__), **{f"{IN}/{name}": path for name, path in view.inputs.items()}}
    for place, path in files.items():
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
    return [word for path in sorted(used.root.iterdir()) for word in _shown(path, f"/{path.name}")]


def _shown(path: Path, place: str) -> list[str]:
    """A folder or link of the image at its own place; its root holds files of ours besides."""
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), place]
    return ["--ro-bind", str(path), place] if path.is_dir() else []


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
            descriptors.append(handle := readable_once(shown.get(path.name, b"")))
            arguments += ["--perms", "0444", "--ro-bind-data", str(handle), str(path)]
    return arguments


def _still(path: Path) -> bytes:
    """A file of the kernel without what changes from moment to moment."""
    return b"".join(line for line in path.read_bytes().splitlines(True) if not line.startswith(b"cpu MHz"))


def _total_memory() -> bytes:
    total = next(line for line in Path("/proc/meminfo").read_bytes().splitlines(True) if line.startswith(b"MemTotal"))
    return total + total.replace(b"MemTotal", b"MemFree") + total.replace(b"MemTotal", b"MemAvailable")


def readable_once(content: bytes) -> int:
    """A descriptor from which `content` can be read once."""
    handle = os.memfd_create("caddie")
    os.write(handle, content)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle

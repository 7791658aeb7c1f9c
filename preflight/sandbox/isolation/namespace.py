"""The `namespace` level: bubblewrap's command line, which mounts a job's view into an empty root."""

import os
from pathlib import Path

from preflight.sandbox.image.image import SLACK_BYTES, Image
from preflight.sandbox.isolation import landlock
from preflight.sandbox.isolation.seccomp import Needs
from preflight.sandbox.isolation.view import (
    HOST_FACTS,
    HOST_SYSTEM,
    IN,
    MEMORY_FOLDERS,
    OUT,
    PROC_FOR_GPUS,
    START,
    WIRE,
    View,
    gpu_devices,
    interpreter_folders,
)

# Files of /proc
PROC_FOR_PROPOSERS = ("sys", "stat", "uptime", "loadavg", "version", "meminfo", "cpuinfo", "filesystems")


def namespaces(needs: Needs, own_user: bool = False) -> list[str]:
    """Return the bubblewrap command with every namespace; a proposer's program keeps the machine's network."""
    arguments = ["bwrap", "--die-with-parent", "--cap-drop", "ALL", "--hostname", "localhost"]
    if os.geteuid() == 0:
        arguments += ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
        arguments += [] if needs.proposer else ["--unshare-net"]
        return arguments + (["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if own_user else [])
    return [*arguments, "--unshare-all", *(["--share-net"] if needs.proposer else [])]


def mounts(view: View) -> tuple[list[str], list[int]]:
    """Return the arguments that mount the view into an empty root, and the descriptors of the files that it copies."""
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
    for folder in MEMORY_FOLDERS:
        arguments += ["--perms", "1777", "--size", str(view.temporary_bytes), "--tmpfs", folder]
        if view.image and (hidden := view.image.inside(folder)).is_dir():  # an interpreter that lives there
            arguments += [word for path in sorted(hidden.iterdir()) for word in _bind(path, f"{folder}/{path.name}")]
    if needs.proposer:
        for host_path in (*map(str, view.host_paths), *interpreter_folders()):  # after /tmp: one may be below it
            arguments += ["--ro-bind", host_path, host_path]
    arguments += ["--remount-ro", "/dev", "--dir", "/job", "--dir", IN]
    files = {START: Path(landlock.__file__), **{f"{IN}/{name}": path for name, path in view.inputs.items()}}
    for target, path in files.items():
        if path.is_dir():
            arguments += ["--ro-bind", str(path), target]
        else:
            descriptors.append(handle := os.open(path, os.O_RDONLY))
            arguments += ["--perms", "0444", "--ro-bind-data", str(handle), target]
    if (view.workspace / "wire").exists():
        arguments += ["--ro-bind", str(view.workspace / "wire"), WIRE]
    if view.out:
        arguments += ["--bind", str(view.out), str(view.out)]
    else:
        arguments += ["--perms", "0777", "--size", str(view.disk_bytes + SLACK_BYTES), "--tmpfs", OUT]
    return [*arguments, "--remount-ro", "/", "--chdir", str(view.out or OUT), "--"], descriptors


def _image_root(image: Image) -> list[str]:
    """Mount the image as the root, read-only; the mounts are each job's own."""
    return [word for path in sorted(image.root.iterdir()) for word in _bind(path, f"/{path.name}")]


def _bind(path: Path, target: str) -> list[str]:
    """Mount a folder or link of the image; plain files in its root are the harness's own and stay hidden."""
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), target]
    return ["--ro-bind", str(path), target] if path.is_dir() else []


def _host_root() -> list[str]:
    """Mount the machine's own system folders."""
    arguments = []
    for path in map(Path, (*HOST_SYSTEM, *HOST_FACTS)):
        if path.is_symlink() and path.parent == Path("/"):
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists():
            arguments += ["--ro-bind", str(path), str(path)]
    return arguments


def _hidden_kernel_files(needs: Needs, descriptors: list[int]) -> list[str]:
    """Cover all files of /proc that count for the whole machine or change its settings; processes stay visible."""
    arguments = []
    contents = {"cpuinfo": _constant_part(Path("/proc/cpuinfo")), "meminfo": _total_memory()}
    visible = PROC_FOR_GPUS if needs.gpu else PROC_FOR_PROPOSERS if needs.proposer else ()
    for path in sorted(Path("/proc").iterdir()):
        if path.name.isdigit() or path.is_symlink():
            continue
        if path.name in visible:
            arguments += ["--ro-bind", str(path), str(path)]
        elif path.is_dir():
            arguments += ["--perms", "0555", "--size", "4096", "--tmpfs", str(path), "--remount-ro", str(path)]
        else:
            descriptors.append(handle := readable_once(contents.get(path.name, b"")))
            arguments += ["--perms", "0444", "--ro-bind-data", str(handle), str(path)]
    return arguments


def _constant_part(path: Path) -> bytes:
    """Return a kernel file without the lines that change from moment to moment."""
    return b"".join(line for line in path.read_bytes().splitlines(True) if not line.startswith(b"cpu MHz"))


def _total_memory() -> bytes:
    """Return a constant /proc/meminfo, in which all memory is free."""
    total = next(line for line in Path("/proc/meminfo").read_bytes().splitlines(True) if line.startswith(b"MemTotal"))
    return total + total.replace(b"MemTotal", b"MemFree") + total.replace(b"MemTotal", b"MemAvailable")


def readable_once(content: bytes) -> int:
    """Return a descriptor from which `content` can be read once."""
    handle = os.memfd_create("caddie")
    os.write(handle, content)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle

"""The paths and ports that Landlock allows a job: its own level's only barrier, in a namespace a second one."""

from collections.abc import Mapping

from preflight.sandbox.image.kernel_facts import processor_folders
from preflight.sandbox.isolation import landlock, ports
from preflight.sandbox.isolation.view import (
    HOST_FACTS,
    HOST_SYSTEM,
    MEMORY_FOLDERS,
    PROC_FOR_GPUS,
    View,
    gpu_devices,
    interpreter_folders,
)

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
COPIED_FACTS = ("/proc/cpuinfo", "/proc/meminfo")  # constant copies in a namespace
# From a process's own folder in /proc: the other files reveal which pages other processes have mapped, and more
PROCESS_FILES = "cgroup cmdline comm environ exe fd limits maps stat statm status"
PROCESS_FACTS = tuple(f"/proc/self/{name}" for name in PROCESS_FILES.split())
NETWORK_FACTS = ("/sys/bus/pci", "/sys/class/net", "/sys/devices")  # gloo looks for the fastest device
GPU_FACTS = ("/proc/driver/nvidia", "/proc/devices", "/proc/meminfo", "/sys/devices", "/sys/bus/pci", "/sys/class/net")

Rules = dict[str, object]


def rules(view: View, level: str, paths: Mapping[str, str]) -> Rules | None:
    """Return the arguments of `landlock.restrict`.

    In a namespace that is None where the kernel has no Landlock, and for a proposer's program, which needs no second
    barrier.
    """
    if level != "namespace":
        return _proposer(view, paths) if view.needs.proposer else _candidate(view, paths)
    if view.image is None or not landlock.abi():
        return None
    read = [f"/{path.name}" for path in sorted(view.image.root.iterdir()) if path.is_dir()]
    read += ["/job", *PROCESS_FACTS, *COPIED_FACTS, *(f"/proc/{name}" for name in PROC_FOR_GPUS if view.needs.gpu)]
    return {"read": read, "write": [paths["out"], *MEMORY_FOLDERS, "/dev"], "connect": []}


def _proposer(view: View, paths: Mapping[str, str]) -> Rules:
    """Allow the machine's own programs, and all of /proc: an agent is many processes that read their own folders there.

    The private files of other processes (memory, environment, open files) stay closed, since Landlock forbids tracing
    them.
    """
    read = [*HOST_SYSTEM, *HOST_FACTS, "/proc", "/sys/devices", *interpreter_folders()]
    read += map(str, view.host_paths)
    return {"read": read, "write": [paths["out"], str(view.workspace / "scratch"), *DEVICES], "connect": []}


def _candidate(view: View, paths: Mapping[str, str]) -> Rules:
    needs = view.needs
    assert view.image is not None
    read = [str(view.image.root), *view.image.loaded_by_path(), *PROCESS_FACTS, "/proc/cpuinfo", paths["in"]]
    read += [str(path) for path in view.inputs.values() if path.is_dir()]
    read += NETWORK_FACTS if needs.ranks else map(str, processor_folders())
    read += GPU_FACTS if needs.gpu else ()
    write = [paths["out"], str(view.workspace / "scratch"), *DEVICES, *(gpu_devices() if needs.gpu else ())]
    connect = [*ports.free(), *filter(None, [view.referee_port])] if needs.ranks else None
    return {"read": read, "write": write, "connect": connect}

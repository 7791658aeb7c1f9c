"""Which paths and ports Landlock leaves to a job: at its own level the wall, in a namespace a second one."""

from collections.abc import Mapping

from preflight.sandbox import landlock, ports
from preflight.sandbox.kernel_facts import processor_folders
from preflight.sandbox.view import (
    HOST_FACTS,
    HOST_SYSTEM,
    MEMORY_FOLDERS,
    STAYS_FOR_GPUS,
    View,
    gpu_devices,
    interpreter_folders,
)

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
COPIED_FACTS = ("/proc/cpuinfo", "/proc/meminfo")  # still copies in a namespace
# Of a process's own folder in /proc: the rest says which pages others have mapped, and more
OF_A_PROCESS = "cgroup cmdline comm environ exe fd limits maps stat statm status"
PROCESS_FACTS = tuple(f"/proc/self/{name}" for name in OF_A_PROCESS.split())
NETWORK_FACTS = ("/sys/bus/pci", "/sys/class/net", "/sys/devices")  # gloo looks for the fastest device
GPU_FACTS = ("/proc/driver/nvidia", "/proc/devices", "/proc/meminfo", "/sys/devices", "/sys/bus/pci", "/sys/class/net")

Rules = dict[str, object]


def rules(view: View, level: str, at: Mapping[str, str]) -> Rules | None:
    """As preflight/sandbox/landlock.py takes them; None where the kernel has no Landlock or needs none."""
    if level != "namespace":
        return _proposer(view, at) if view.needs.proposer else _candidate(view, at)
    if view.image is None or not landlock.abi():
        return None
    read = [f"/{path.name}" for path in sorted(view.image.root.iterdir()) if path.is_dir()]
    read += ["/job", *PROCESS_FACTS, *COPIED_FACTS, *(f"/proc/{name}" for name in STAYS_FOR_GPUS if view.needs.gpu)]
    return {"read": read, "write": [at["out"], *MEMORY_FOLDERS, "/dev"], "connect": []}


def _proposer(view: View, at: Mapping[str, str]) -> Rules:
    """The machine's own programs, and all of /proc: an agent is many processes, and each reads its own folder there.

    What others keep in theirs (memory, environment, open files) stays closed, since Landlock denies to trace them.
    """
    read = [*HOST_SYSTEM, *HOST_FACTS, "/proc", "/sys/devices", *interpreter_folders()]
    read += map(str, view.host_paths)
    return {"read": read, "write": [at["out"], str(view.workspace / "scratch"), *DEVICES], "connect": []}


def _candidate(view: View, at: Mapping[str, str]) -> Rules:
    needs = view.needs
    assert view.image is not None
    read = [str(view.image.root), *view.image.loaded_by_path(), *PROCESS_FACTS, "/proc/cpuinfo", at["in"]]
    read += [str(path) for path in view.inputs.values() if path.is_dir()]
    read += NETWORK_FACTS if needs.ranks else map(str, processor_folders())
    read += GPU_FACTS if needs.gpu else ()
    write = [at["out"], str(view.workspace / "scratch"), *DEVICES, *(gpu_devices() if needs.gpu else ())]
    connect = [*ports.free(), *filter(None, [view.referee_port])] if needs.ranks else None
    return {"read": read, "write": write, "connect": connect}

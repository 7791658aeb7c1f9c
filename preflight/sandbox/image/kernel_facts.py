"""Constant facts about the hardware from /sys, copied so that no job asks the kernel itself.

The real /sys remembers names that were looked up without success and counts for the whole machine; a copy does neither.
It contains what NCCL, gloo and CUDA read to place ranks: processors, caches, memory nodes, PCI devices.
"""

import os
from collections.abc import Iterator
from pathlib import Path

PROCESSORS = Path("/sys/devices/system/cpu")
PATTERNS = (
    *("cpu/online", "cpu/possible", "cpu/present", "cpu/kernel_max", "cpu/cpu[0-9]*/topology/*"),
    *("cpu/cpu[0-9]*/cache/index[0-9]*/*", "memory/block_size_bytes", "node/online", "node/possible"),
    *("node/node[0-9]*/cpulist", "node/node[0-9]*/cpumap", "node/node[0-9]*/distance"),
)
DEVICES = Path("/sys/bus/pci/devices")
DEVICE_FILES = (
    *("vendor", "device", "class", "revision", "subsystem_vendor", "subsystem_device", "numa_node", "local_cpus"),
    *("local_cpulist", "max_link_speed", "max_link_width", "current_link_speed", "current_link_width"),
)


def processor_folders() -> list[Path]:
    """Return files and folders of the real /sys without counters, for jobs into which no copy can be mounted."""
    patterns = ("online", "possible", "present", "kernel_max", "cpu[0-9]*/topology", "cpu[0-9]*/cache")
    return sorted(path for pattern in patterns for path in PROCESSORS.glob(pattern))


def copy(root: Path) -> None:
    """Copy the files to their own paths below `root`, and make the links by which PCI devices are found."""
    for fact in _files():
        target = root / str(fact).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.write_bytes(fact.read_bytes())
        except OSError:  # a device that does not know the value
            target.unlink(missing_ok=True)
    listed = root / str(DEVICES).lstrip("/")
    listed.mkdir(parents=True)
    for link in DEVICES.iterdir() if DEVICES.exists() else ():
        (listed / link.name).symlink_to(link.readlink())


def _files() -> Iterator[Path]:
    """Yield the readable files of the processors, of the memory, and of all PCI devices and their bridges."""
    for pattern in PATTERNS:
        yield from (path for path in PROCESSORS.parent.glob(pattern) if path.is_file() and os.access(path, os.R_OK))
    seen: set[Path] = set()
    for link in DEVICES.iterdir() if DEVICES.exists() else ():
        device = link.resolve()
        for folder in (device, *device.parents):  # bridges on the way to it are devices too
            if folder not in seen and folder.is_relative_to("/sys/devices") and (folder / "class").is_file():
                seen.add(folder)
                yield from (folder / name for name in DEVICE_FILES if os.access(folder / name, os.R_OK))

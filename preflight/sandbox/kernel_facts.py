"""What the kernel says of the hardware and stays as it is: copied, so that no job asks the kernel itself.

The real /sys remembers names that were looked up in vain and counts for the whole machine; a copy does neither. What
NCCL, gloo and CUDA read of it to place ranks (processors, caches, memory nodes, PCI devices) is in it.
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
OF_A_DEVICE = (
    *("vendor", "device", "class", "revision", "subsystem_vendor", "subsystem_device", "numa_node", "local_cpus"),
    *("local_cpulist", "max_link_speed", "max_link_width", "current_link_speed", "current_link_width"),
)


def processor_folders() -> list[Path]:
    """Of the real /sys, for where no copy can be mounted: files and folders that hold no counters."""
    patterns = ("online", "possible", "present", "kernel_max", "cpu[0-9]*/topology", "cpu[0-9]*/cache")
    return sorted(path for pattern in patterns for path in PROCESSORS.glob(pattern))


def copy(root: Path) -> None:
    """Files at their own paths below `root`, and the links by which PCI devices are found."""
    for fact in _files():
        target = root / str(fact).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.write_bytes(fact.read_bytes())
        except OSError:  # a device says that it does not know
            target.unlink(missing_ok=True)
    listed = root / str(DEVICES).lstrip("/")
    listed.mkdir(parents=True)
    for link in DEVICES.iterdir() if DEVICES.exists() else ():
        (listed / link.name).symlink_to(link.readlink())


def _files() -> Iterator[Path]:
    for pattern in PATTERNS:
        yield from (path for path in PROCESSORS.parent.glob(pattern) if path.is_file() and os.access(path, os.R_OK))
    seen: set[Path] = set()
    for link in DEVICES.iterdir() if DEVICES.exists() else ():
        device = link.resolve()
        for place in (device, *device.parents):  # bridges on the way to it are devices too
            if place not in seen and place.is_relative_to("/sys/devices") and (place / "class").is_file():
                seen.add(place)
                yield from (place / name for name in OF_A_DEVICE if os.access(place / name, os.R_OK))

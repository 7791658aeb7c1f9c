"""The file system of a folder: SQLite's write-ahead log needs shared memory, which network file systems lack."""

from pathlib import Path

LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "tmpfs", "overlay"}
MOUNTS = Path("/proc/self/mountinfo")


def kind(path: Path) -> str:
    """Return the type of the mount that `path` is on, as the kernel names it (proc_pid_mountinfo(5))."""
    resolved, depth, mount_type = path.resolve(), 0, "unknown"
    for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        point = Path(left.split(" ")[4].replace("\\040", " "))
        if resolved.is_relative_to(point) and len(point.parts) >= depth:  # a later mount covers an earlier one
            depth, mount_type = len(point.parts), right.split(" ")[0]
    return mount_type


def journal_mode(folder: Path) -> str:
    """Return SQLite's journal mode for a folder.

    WAL lets `status --watch` read while the controller writes, but needs shared memory (sqlite.org/wal.html).
    """
    return "WAL" if kind(folder) in LOCAL else "DELETE"

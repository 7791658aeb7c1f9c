"""The files that every job runs on, copied once into memory and cleared of everything that a job may have left on them.

Jobs must share nothing that one can mark and another read. Files on a disk have a page cache that can be evicted, a
cache of names that were looked up without success, access times. Files of a tmpfs have none of these: all pages are
resident, no failed look-up is remembered, and the system call filter (preflight/sandbox/isolation/seccomp.py) keeps the
other attributes of an inode (hints, locks, flags) out of reach. preflight/sandbox/isolation/residue.py states the rest
in bits.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import SandboxError
from preflight.sandbox.cleanup import WORKSPACE_PREFIX, remove_tree
from preflight.sandbox.image import files as image_files
from preflight.sandbox.image import kernel_facts
from preflight.sandbox.image.files import PREFIXES, PYTHON, by_path, fill, package_folders, total_bytes

FREE_FACTOR = 1.2  # free space needed, as a multiple of the copy
SLACK_BYTES = 8 << 20  # what a file system of a given size needs for itself
STAMP = "complete"
FUTURE_NS = 3_600 * 10**9
REFRESH_SECONDS = 6 * 3_600.0  # access times are reset at this age, before relatime updates one
# Of the images of other packages the newest stays for hours, the others for minutes: each is a gigabyte of memory
UNUSED_SECONDS, NEW_SECONDS = 12 * 3_600.0, 600.0


@dataclass(frozen=True)
class Image:
    """A root file system in a folder; the interpreter is in it at the path that it has outside."""

    root: Path
    in_memory: bool  # on a tmpfs, as it should be

    def inside(self, path: str | Path) -> Path:
        """Return the copy of a path of this machine."""
        return self.root / str(path).lstrip("/")

    def loaded_by_path(self) -> list[str]:
        """Return the files that the loader and the compiler open at their own paths, where no copy can be mounted."""
        return (self.root / STAMP).read_text(encoding="utf-8", errors="surrogateescape").splitlines()

    def python_environment(self) -> dict[str, str]:
        """Return the variables with which the interpreter runs from a copy that is not mounted at its own path."""
        packages = os.pathsep.join(str(self.inside(folder)) for folder in package_folders())
        home = self.inside(PREFIXES[-1])
        return {"PYTHONHOME": str(home), "PYTHONPATH": packages, "LD_LIBRARY_PATH": str(home / "lib")}


@functools.cache
def folder() -> Path:
    """Return this user's folder of images: in memory if there is room, else on disk, which `doctor` reports.

    Raises:
        SandboxError: there is room for a copy in neither.
    """
    for parent in (Path("/dev/shm"), Path(tempfile.gettempdir())):
        images = parent / f"caddie-{os.geteuid()}"
        try:
            images.mkdir(mode=0o711, exist_ok=True)
        except OSError:
            continue
        info = images.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o022:
            continue  # another user has made it
        if _current(images) or shutil.disk_usage(images).free > FREE_FACTOR * total_bytes():
            return images
    raise SandboxError(
        f"expected room for a copy of Python and torch in /dev/shm or {tempfile.gettempdir()}; free some"
    )


def ensure_image() -> Image:
    """Return the image in use, making one if there is none for these packages."""
    images = folder()
    if (root := _current(images)) is None:
        with _lock(images):  # two harnesses that start at once need one copy
            root = _current(images) or _make(images)
    with contextlib.suppress(FileNotFoundError):  # another harness is wiping at this moment
        if _age(root / STAMP) > REFRESH_SECONDS:
            _reset_access_times(root)
    return Image(root, in_memory(images))


@contextmanager
def lease() -> Iterator[Image]:
    """Yield the image in use, which is kept until the context is left even if another harness wipes meanwhile."""
    while True:
        image = ensure_image()
        try:
            stamp = (image.root / STAMP).open()
        except FileNotFoundError:  # wiped between the two lines above: there is a newer one
            continue
        with stamp:
            fcntl.flock(stamp, fcntl.LOCK_SH)
            if (image.root / STAMP).exists():
                yield image
                return


def wipe() -> None:
    """Make a new copy on new inodes: no job from now on can reach anything that was left on the old one.

    Raises:
        SandboxError: there is no room for two copies at a time.
    """
    images = folder()
    with _lock(images), _new_folder(images) as root:
        with lease() as old:
            copied = subprocess.run(
                ["cp", "-a", f"{old.root}/.", str(root)], capture_output=True, text=True, encoding="utf-8"
            )
        if copied.returncode:
            free = f"{shutil.disk_usage(images).free:,} bytes free in {images}"
            raise SandboxError(f"got {free}, expected room for a second copy of Python and torch; make /dev/shm larger")
        _use(root)


@contextmanager
def _lock(images: Path) -> Iterator[None]:
    """Keep other harnesses from making or wiping an image of these packages meanwhile."""
    with (images / f"{_key()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _current(images: Path) -> Path | None:
    """Return the image in use for these packages, if there is one."""
    try:
        root = images / (images / _key()).readlink()
    except OSError:
        return None
    return root if (root / STAMP).exists() else None


def _make(images: Path) -> Path:
    """Make an image from the files of this machine."""
    with _new_folder(images) as root:
        fill(root)
        (root / STAMP).write_text("\n".join(by_path()), encoding="utf-8", errors="surrogateescape")
        _use(root)
    return root


@contextmanager
def _new_folder(images: Path) -> Iterator[Path]:
    """Make a folder for an image; it is removed again if it cannot be filled."""
    root = Path(tempfile.mkdtemp(prefix=f"{_key()}-", dir=images))
    root.chmod(0o755)
    try:
        yield root
    except BaseException:
        remove_tree(root)
        raise


def _use(root: Path) -> None:
    """Let all jobs start from this image from now on, and remove the others from which no job runs."""
    _reset_access_times(root)
    images, link = root.parent, root.with_suffix(".link")
    link.symlink_to(root.name)
    link.replace(images / _key())
    others = [path for path in images.glob("*-*") if path != root and path.is_dir() and not path.is_symlink()]
    foreign = [path for path in others if not path.name.startswith(_key())]
    newest = max(foreign, key=lambda path: _written(path / STAMP), default=None)
    kept = {path for path in foreign if _age(path / STAMP) < (UNUSED_SECONDS if path == newest else NEW_SECONDS)}
    for path in {*others} - kept:
        with contextlib.suppress(OSError), (path / STAMP).open() as stamp:  # a job runs from it, or it is being made
            fcntl.flock(stamp, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (path / STAMP).unlink()
            remove_tree(path)
    for workspace in images.glob(f"{WORKSPACE_PREFIX}*"):  # of harnesses that were killed
        if _age(workspace) > UNUSED_SECONDS:
            remove_tree(workspace)


def _reset_access_times(root: Path) -> None:
    """Set all access times to the future: none is updated for a day (option relatime), so no reader leaves one."""
    future = time.time_ns() + FUTURE_NS  # later than the change time that this sets, or the next reader would update it
    for parent, folders, files in os.walk(root):
        for path in (parent, *(f"{parent}/{name}" for name in (*folders, *files))):
            info = os.lstat(path)
            os.utime(path, ns=(future, info.st_mtime_ns), follow_symlinks=False)
            if not stat.S_ISLNK(info.st_mode) and info.st_mode & 0o044 != 0o044:  # made under the human user's umask
                Path(path).chmod(info.st_mode | 0o444 | (0o111 if stat.S_ISDIR(info.st_mode) else 0))
    os.utime(root / STAMP)


def _written(path: Path) -> float:
    """Return the time at which a file was written; now, if it does not exist yet."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _age(path: Path) -> float:
    return time.time() - _written(path)


@functools.cache
def _key() -> str:
    """Return the name of the image; another interpreter and another or a changed set of packages have another name."""
    packages = [path for folder in package_folders() for path in folder.iterdir() if path.name.endswith("-info")]
    versions = sorted(f"{path} {path.stat().st_mtime_ns}" for path in packages)
    code = [
        Path(str(module.__file__)).read_text(encoding="utf-8", errors="surrogateescape")
        for module in (image_files, kernel_facts)
    ]
    facts = [str(PYTHON), *map(str, PREFIXES), sys.base_prefix, sys.version, *versions, *code]
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]


@functools.cache
def in_memory(folder: Path) -> bool:
    """Return True if a folder is on a tmpfs."""
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="surrogateescape") as lines:
        rows = [line.split() for line in lines]
    mounts = [(fields[4], fields[fields.index("-") + 1]) for fields in rows]
    above = [mount for mount in mounts if folder.resolve().is_relative_to(mount[0])]
    return max(above, key=lambda mount: len(mount[0]))[1] == "tmpfs"

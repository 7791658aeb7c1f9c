"""The files that every job runs on, copied once into memory, and cleared of all that a job may have left on them.

Jobs must share nothing that one can mark and another read. Files on a disk have a page cache that can be evicted, a
cache of names that were looked up in vain, access times. Files of a tmpfs have none of these: all pages are resident,
no failed look-up is remembered, and what else an inode carries (hints, locks, flags) the system call filter keeps
out of reach (preflight/sandbox/seccomp.py). preflight/sandbox/residue.py has what is left, in bits.
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

from data.errors import SandboxError
from preflight.sandbox import image_files, kernel_facts
from preflight.sandbox.cleanup import WORKSPACE, discard
from preflight.sandbox.image_files import PREFIXES, PYTHON, by_path, fill, package_folders, total_bytes

ROOMY = 1.2  # free space wanted, as a multiple of the copy
SLACK_BYTES = 8 << 20  # what a file system of a given size needs for itself
STAMP = "complete"
AHEAD_NS = 3_600 * 10**9
STILL_SECONDS = 6 * 3_600.0  # access times stay ahead for so long
# Of the images of other packages the newest stays for so long, the others for minutes: each is a gigabyte of memory
UNUSED_SECONDS, NEW_SECONDS = 12 * 3_600.0, 600.0


@dataclass(frozen=True)
class Image:
    """A root file system in a folder; the interpreter stands in it at the path it has outside."""

    root: Path
    in_memory: bool  # whether it is a tmpfs, as it should be

    def inside(self, path: str | Path) -> Path:
        """The copy of a path of this machine."""
        return self.root / str(path).lstrip("/")

    def loaded_by_path(self) -> list[str]:
        """What the loader and the compiler open at its own path, where no mount puts the copy there."""
        return (self.root / STAMP).read_text(encoding="utf-8", errors="surrogateescape").splitlines()

    def python_environment(self) -> dict[str, str]:
        """What lets the interpreter run from the copy where it cannot be mounted at its own path."""
        packages = os.pathsep.join(str(self.inside(folder)) for folder in package_folders())
        home = self.inside(PREFIXES[-1])
        return {"PYTHONHOME": str(home), "PYTHONPATH": packages, "LD_LIBRARY_PATH": str(home / "lib")}


@functools.cache
def folder() -> Path:
    """This user's folder of images: in memory if there is room, else on disk, which `doctor` says."""
    for parent in (Path("/dev/shm"), Path(tempfile.gettempdir())):
        made = parent / f"caddie-{os.geteuid()}"
        try:
            made.mkdir(mode=0o711, exist_ok=True)
        except OSError:
            continue
        info = made.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o022:
            continue  # somebody else was there first
        if _current(made) or shutil.disk_usage(made).free > ROOMY * total_bytes():
            return made
    raise SandboxError(
        f"expected room for a copy of Python and torch in /dev/shm or {tempfile.gettempdir()}; free some"
    )


def image() -> Image:
    """The image in use; made if there is none for these packages."""
    images = folder()
    if (root := _current(images)) is None:
        with _alone(images):  # two harnesses that start at once need one copy
            root = _current(images) or _make(images)
    with contextlib.suppress(FileNotFoundError):  # somebody wipes just now
        if _age(root / STAMP) > STILL_SECONDS:
            _settle_times(root)
    return Image(root, in_memory(images))


@contextmanager
def lease() -> Iterator[Image]:
    """The image in use, which stays until the context is left, whoever wipes meanwhile."""
    while True:
        found = image()
        try:
            held = (found.root / STAMP).open()
        except FileNotFoundError:  # wiped between two lines: there is a newer one
            continue
        with held:
            fcntl.flock(held, fcntl.LOCK_SH)
            if (found.root / STAMP).exists():
                yield found
                return


def wipe() -> None:
    """A new copy on new inodes: whatever was left on the old one is out of reach for every job from now on.

    Raises SandboxError where there is no room for two at a time.
    """
    images = folder()
    with _alone(images), _new(images) as made:
        with lease() as old:
            copied = subprocess.run(
                ["cp", "-a", f"{old.root}/.", str(made)], capture_output=True, text=True, encoding="utf-8"
            )
        if copied.returncode:
            free = f"{shutil.disk_usage(images).free:,} bytes free in {images}"
            raise SandboxError(f"got {free}, expected room for a second copy of Python and torch; make /dev/shm larger")
        _use(made)


@contextmanager
def _alone(images: Path) -> Iterator[None]:
    """Nobody else makes or wipes an image of these packages meanwhile."""
    with (images / f"{_key()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _current(images: Path) -> Path | None:
    try:
        root = images / (images / _key()).readlink()
    except OSError:
        return None
    return root if (root / STAMP).exists() else None


def _make(images: Path) -> Path:
    with _new(images) as made:
        fill(made)
        (made / STAMP).write_text("\n".join(by_path()), encoding="utf-8", errors="surrogateescape")
        _use(made)
    return made


@contextmanager
def _new(images: Path) -> Iterator[Path]:
    """A folder for an image, which is removed again if it cannot be filled."""
    made = Path(tempfile.mkdtemp(prefix=f"{_key()}-", dir=images))
    made.chmod(0o755)
    try:
        yield made
    except BaseException:
        discard(made)
        raise


def _use(made: Path) -> None:
    """From now on jobs start from this one; of the others only those stay from which one runs."""
    _settle_times(made)
    images, link = made.parent, made.with_suffix(".link")
    link.symlink_to(made.name)
    link.replace(images / _key())
    others = [one for one in images.glob("*-*") if one != made and one.is_dir() and not one.is_symlink()]
    foreign = [one for one in others if not one.name.startswith(_key())]
    newest = max(foreign, key=lambda one: _written(one / STAMP), default=None)
    stay = {one for one in foreign if _age(one / STAMP) < (UNUSED_SECONDS if one == newest else NEW_SECONDS)}
    for one in {*others} - stay:
        with contextlib.suppress(OSError), (one / STAMP).open() as held:  # a job runs from it, or it is being made
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (one / STAMP).unlink()
            discard(one)
    for forgotten in images.glob(f"{WORKSPACE}*"):  # of harnesses that were killed
        if _age(forgotten) > UNUSED_SECONDS:
            discard(forgotten)


def _settle_times(root: Path) -> None:
    """Access times ahead of all others: none is renewed for a day (option relatime), so that no reader leaves one."""
    later = time.time_ns() + AHEAD_NS  # than the change that setting it is: else the next reader would renew it
    for place, folders, files in os.walk(root):
        for path in (place, *(f"{place}/{name}" for name in (*folders, *files))):
            info = os.lstat(path)
            os.utime(path, ns=(later, info.st_mtime_ns), follow_symlinks=False)
            if not stat.S_ISLNK(info.st_mode) and info.st_mode & 0o044 != 0o044:  # made under a umask of the person's
                Path(path).chmod(info.st_mode | 0o444 | (0o111 if stat.S_ISDIR(info.st_mode) else 0))
    os.utime(root / STAMP)


def _written(path: Path) -> float:
    """When a file was written; now, if it is not there yet."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _age(path: Path) -> float:
    return time.time() - _written(path)


@functools.cache
def _key() -> str:
    """Names the image: another interpreter, another set of packages or a changed one needs another."""
    packages = [one for folder in package_folders() for one in folder.iterdir() if one.name.endswith("-info")]
    versions = sorted(f"{one} {one.stat().st_mtime_ns}" for one in packages)
    code = [
        Path(str(part.__file__)).read_text(encoding="utf-8", errors="surrogateescape")
        for part in (image_files, kernel_facts)
    ]
    facts = [str(PYTHON), *map(str, PREFIXES), sys.base_prefix, sys.version, *versions, *code]
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]


@functools.cache
def in_memory(folder: Path) -> bool:
    """Whether a folder is on a tmpfs."""
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="surrogateescape") as mounts:
        found = [line.split() for line in mounts]
    places = [(fields[4], fields[fields.index("-") + 1]) for fields in found]
    beneath = [place for place in places if folder.resolve().is_relative_to(place[0])]
    return max(beneath, key=lambda place: len(place[0]))[1] == "tmpfs"

"""The files that every job runs on: Python, the packages of base/, a compiler, copied once into memory.

Jobs must share nothing that one can mark and another read. Files on a disk have a page cache that can be evicted, a
cache of names that were looked up in vain, access times. Files of a tmpfs have none of these: all pages are resident,
no failed look-up is remembered, and what else an inode carries (hints, locks, flags) the system call filter keeps
out of reach (preflight/sandbox/seccomp.py). dev/benchmarks/channels.md has what is left, in bits.
"""

import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from data.errors import SandboxError
from preflight.sandbox.cleanup import WORKSPACE, discard

PACKAGES = ("torch", "numpy", "zstandard", "sentencepiece", "brotli", "triton", "flash-attn", "flash-attn-3")
LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "ensurepip", "turtledemo", "lib2to3", "site-packages", "pip"}
HEADERS = Path("/usr/include")
PROGRAMS = ("sh", "gcc", "g++", "cc", "c++", "as", "ld", "ldconfig")  # torch.compile and Triton build with them
COMPILED_WITH = ("cc1", "cc1plus", "collect2", "lto-wrapper", "liblto_plugin.so")
LINKED_WITH = ("crt1.o", "crti.o", "crtn.o", "libc.so", "libc_nonshared.a", "libm.so", "libmvec.so.1", "libgomp.so.1")
DRIVER = re.compile(r"lib(cuda|nvidia-|nvcuvid|cudadebugger)")
FACTS = ("/etc/ld.so.cache", "/etc/localtime", "/etc/hosts", "/etc/nsswitch.conf")
PROCESSORS = Path("/sys/devices/system/cpu")
ROOMY = 1.2  # free space wanted, as a multiple of the copy
SLACK_BYTES = 8 << 20  # what a file system of a given size needs for itself
SYSTEM = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")))
STAMP = "complete"
STILL_SECONDS, UNUSED_SECONDS = 6 * 3_600.0, 2 * 86_400.0  # from then on an image of other packages is cleared away


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
        return (self.root / STAMP).read_text().splitlines()

    def python_environment(self) -> dict[str, str]:
        """What lets the interpreter run from the copy where it cannot be mounted at its own path."""
        packages = os.pathsep.join(str(self.inside(Path(folder).resolve())) for folder in _package_folders())
        home = self.inside(Path(sys.base_prefix).resolve())
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
        if _current(made) or shutil.disk_usage(made).free > ROOMY * sum(_size(path) for path in _sources()):
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
        if time.time() - _age(root / STAMP) > STILL_SECONDS:
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
    """A new copy on new inodes: whatever was left on the old one is out of reach for every job from now on."""
    with _alone(folder()), lease() as old:
        with _new(old.root.parent) as made:
            subprocess.run(["cp", "-a", f"{old.root}/.", str(made)], check=True, capture_output=True)
            _use(made)


@contextmanager
def _alone(images: Path) -> Iterator[None]:
    """Nobody else makes or wipes an image of these packages meanwhile."""
    with (images / f"{_key()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _by_path() -> list[str]:
    own = [Path(sys.prefix), Path(sys.base_prefix)]
    outside = [path for path in _sources() if not any(path.is_relative_to(prefix) for prefix in own)]
    return [str(path) for path in outside if any(path.is_relative_to(folder) for folder in SYSTEM)]


def _current(images: Path) -> Path | None:
    try:
        root = images / (images / _key()).readlink()
    except OSError:
        return None
    return root if (root / STAMP).exists() else None


def _make(images: Path) -> Path:
    with _new(images) as made:
        _fill(made)
        _use(made)
    return made


def _fill(made: Path) -> None:
    copied: set[Path] = set()
    for source in _sources():
        _copy(source, made, copied)
    for fact in (file for path in processors() for file in (path.rglob("*") if path.is_dir() else [path])):
        if fact.is_file() and os.access(fact, os.R_OK):
            target = made / str(fact).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(fact.read_bytes())
    (made / STAMP).write_text("\n".join(_by_path()))


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
    own = [one for one in others if one.name.startswith(_key())]
    unused = [one for one in others if one not in own and time.time() - _age(one / STAMP) > UNUSED_SECONDS]
    for one in [*own, *unused]:
        with contextlib.suppress(OSError), (one / STAMP).open() as held:  # a job runs from it, or it is being made
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (one / STAMP).unlink()
            discard(one)
    for forgotten in images.glob(f"{WORKSPACE}*"):  # of harnesses that were killed
        if time.time() - _age(forgotten) > UNUSED_SECONDS:
            discard(forgotten)


def _copy(source: Path, root: Path, copied: set[Path]) -> None:
    """A file, folder or link with all links on the way to it, so that its path means in `root` what it means here."""
    walked = Path("/")
    for part in source.parts[1:]:
        walked /= part
        if walked.is_symlink():  # never written through: an absolute one would lead out of `root`
            link = root / str(walked).lstrip("/")
            if walked not in copied:
                copied.add(walked)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(walked.readlink())
            target = Path(os.path.normpath(walked.parent / walked.readlink()))
            return _copy(target / source.relative_to(walked), root, copied)
    if source in copied:
        return None
    copied.add(source)
    here = root / str(source).lstrip("/")
    if source.is_dir():
        shutil.copytree(source, here, symlinks=True, dirs_exist_ok=True, ignore=_left_out)
    elif source.is_file():
        here.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, here)
    return None


def _left_out(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name in LEFT_OUT or name.endswith(".pyi")]


@functools.cache
def _sources() -> tuple[Path, ...]:
    """Everything that is copied; a path that does not exist on this machine is passed over."""
    found = [*_python(), *_packages(), *_compiler()]
    found += [Path(fact) for fact in FACTS]
    found += _libraries(found)
    return tuple(path for path in dict.fromkeys(found) if path.exists())


def _python() -> Iterator[Path]:
    yield Path(sys.executable)
    for prefix in {Path(sys.prefix), Path(sys.base_prefix)}:
        yield from [prefix / "pyvenv.cfg", *prefix.glob("lib/libpython*")]
        yield from prefix.glob("bin/python*")
    yield Path(sysconfig.get_path("stdlib"))
    yield Path(sysconfig.get_path("platstdlib"))
    yield Path(sysconfig.get_config_var("INCLUDEPY") or sysconfig.get_path("include"))


def processors() -> list[Path]:
    """What the kernel says of processors and their caches and does not change from moment to moment."""
    patterns = ("online", "possible", "present", "kernel_max", "cpu[0-9]*/topology", "cpu[0-9]*/cache")
    return sorted(path for pattern in patterns for path in PROCESSORS.glob(pattern))


def _packages() -> Iterator[Path]:
    """The top-level folders and files of PACKAGES and of all they require, where they are installed."""
    wanted, seen = list(PACKAGES), set()
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            package = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        wanted += [
            re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in package.requires or () if "extra ==" not in text
        ]
        tops = {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")}
        yield from (Path(str(package.locate_file(top))) for top in sorted(tops))


def _package_folders() -> list[str]:
    """Where packages are installed that this interpreter finds."""
    return [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]


def _compiler() -> Iterator[Path]:
    """A C and C++ compiler with its headers, if there is one."""
    yield from (
        Path(found) for name in PROGRAMS if (found := shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/sbin"))
    )
    if not (gcc := shutil.which("gcc", path="/usr/bin:/bin")):
        return
    yield HEADERS
    for name in COMPILED_WITH:
        answer = _output([gcc, f"-print-prog-name={name}"])
        if Path(answer).is_absolute():
            yield Path(answer).parent
    for name in LINKED_WITH:
        answer = _output([gcc, f"-print-file-name={name}"])
        if Path(answer).is_absolute():
            yield Path(os.path.normpath(answer))


def _libraries(paths: Iterable[Path]) -> list[Path]:
    """The shared libraries outside `paths` that programs and libraries in them load, by the loader's own account."""
    folders = [path for path in paths if path.is_dir() and path != HEADERS]
    files = [path for path in paths if path.is_file()] + [file for folder in folders for file in _files(folder)]
    binaries = [file for file in files if ".so" in file.name or (os.access(file, os.X_OK) and not file.suffix)]
    found: set[Path] = set()
    for start in range(0, len(binaries), 200):
        for line in _output(["ldd", *map(str, binaries[start : start + 200])]).splitlines():
            name = line.partition("=>")[2].strip() or line.strip()
            if name.startswith("/") and not line.endswith(":"):
                found.add(Path(os.path.normpath(name.split(" (")[0])))
    for line in _output(["/sbin/ldconfig", "-p"]).splitlines():
        if DRIVER.match(line.strip()):
            found.add(Path(line.partition("=>")[2].strip()))
    return sorted(path for path in found if not any(path.is_relative_to(folder) for folder in folders))


def _files(folder: Path) -> Iterator[Path]:
    """What is copied of a folder."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        yield from (Path(place, name) for name in names if name not in LEFT_OUT)


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:  # a machine without a linker cache, or without a compiler
        return ""


def _settle_times(root: Path) -> None:
    """Access times of now: none is renewed for a day (mount option relatime), so that no reader leaves one."""
    now = time.time_ns()
    for place, folders, files in os.walk(root):
        for path in (place, *(f"{place}/{name}" for name in (*folders, *files))):
            os.utime(path, ns=(now, os.lstat(path).st_mtime_ns), follow_symlinks=False)
    os.utime(root / STAMP)


def _age(path: Path) -> float:
    """When a file was written; now, if it is not there yet."""
    return path.stat().st_mtime if path.exists() else time.time()


@functools.cache
def _key() -> str:
    """Names the image: another interpreter, another set of packages or a changed one needs another."""
    folders = [Path(path) for path in _package_folders()]
    versions = sorted(str(one) for folder in folders for one in folder.iterdir() if one.name.endswith("-info"))
    facts = [sys.executable, sys.prefix, sys.base_prefix, sys.version, *versions, Path(__file__).read_text()]
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]


def _size(path: Path) -> int:
    return sum(file.lstat().st_size for file in _files(path)) if path.is_dir() else path.stat().st_size


@functools.cache
def in_memory(folder: Path) -> bool:
    """Whether a folder is on a tmpfs."""
    with Path("/proc/self/mountinfo").open() as mounts:
        found = [line.split() for line in mounts]
    places = [(fields[4], fields[fields.index("-") + 1]) for fields in found]
    beneath = [place for place in places if folder.resolve().is_relative_to(place[0])]
    return max(beneath, key=lambda place: len(place[0]))[1] == "tmpfs"

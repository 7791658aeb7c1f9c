"""The files that a job runs on: Python, the packages of base/ and their requirements, libraries, a compiler."""

import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from preflight.sandbox.image import kernel_facts

PACKAGES = ("torch", "numpy", "zstandard", "sentencepiece", "brotli", "triton", "flash-attn", "flash-attn-3")
LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "ensurepip", "turtledemo", "lib2to3", "site-packages", "pip"}
HEADERS = Path("/usr/include")
# Used by torch.compile and Triton to build
PROGRAMS = ("sh", "gcc", "g++", "cc", "c++", "as", "ld", "objcopy", "ldconfig", "openssl")
COMPILED_WITH = ("cc1", "cc1plus", "collect2", "lto-wrapper", "liblto_plugin.so")
LINKED_WITH = (
    *("crt1.o", "crti.o", "crtn.o", "libc.so", "libc_nonshared.a", "libm.so", "libmvec.so.1", "libgomp.so.1"),
    *("libpthread.a", "libpthread.so", "libdl.a", "libdl.so", "librt.a", "libutil.a", "libstdc++.so"),
)
DRIVER = re.compile(r"lib(cuda|nvidia-|nvcuvid|cudadebugger)")
FACTS = ("/etc/ld.so.cache", "/etc/localtime", "/etc/hosts", "/etc/nsswitch.conf")
SYSTEM = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")))
# Only the folder is resolved: a virtual environment may be reached by a link, but its interpreter is itself a link
PYTHON = Path(sys.executable).parent.resolve() / Path(sys.executable).name
PREFIXES = tuple(dict.fromkeys(Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)))


@functools.cache
def sources() -> tuple[Path, ...]:
    """Return everything that is copied; a path that does not exist on this machine is skipped."""
    paths = [*_python(), *_packages(), *_compiler()]
    paths += [Path(fact) for fact in FACTS]
    paths += _libraries(paths)
    return tuple(path for path in dict.fromkeys(paths) if path.exists())


def by_path() -> list[str]:
    """Return the files that the loader and the compiler open at their own paths, where no copy can be mounted there."""
    outside = [path for path in sources() if not any(path.is_relative_to(prefix) for prefix in PREFIXES)]
    return [str(path) for path in outside if any(path.is_relative_to(folder) for folder in SYSTEM)]


def fill(root: Path) -> None:
    """Copy all files to their paths below `root`."""
    copied: set[Path] = set()
    for source in sorted(sources(), key=Path.is_file):  # folders first: copying one fails on a link that exists already
        _copy(source, root, copied)
    kernel_facts.copy(root)


def _copy(source: Path, root: Path, copied: set[Path]) -> None:
    """Copy a file, folder or link with all links on the way to it, so that its path means the same in `root`."""
    walked = Path("/")
    for part in source.parts[1:]:
        walked /= part
        if walked.is_symlink():  # never written through: an absolute one would lead out of `root`
            link = root / str(walked).lstrip("/")
            if walked not in copied and not link.is_symlink():  # it may have come with its folder
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(walked.readlink())
            copied.add(walked)
            target = Path(os.path.normpath(walked.parent / walked.readlink()))
            return _copy(target / source.relative_to(walked), root, copied)
    if source in copied:
        return None
    copied.add(source)
    copy = root / str(source).lstrip("/")
    if source.is_dir():
        shutil.copytree(source, copy, symlinks=True, dirs_exist_ok=True, ignore=_left_out)
    elif source.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)
    return None


def _left_out(_: str, names: list[str]) -> list[str]:
    """Return the names that `shutil.copytree` must not copy."""
    return [name for name in names if name in LEFT_OUT or name.endswith(".pyi")]


def _python() -> Iterator[Path]:
    """Yield the interpreter, the standard library and the headers."""
    yield PYTHON
    for prefix in dict.fromkeys((*PREFIXES, Path(sys.base_prefix))):  # a pyvenv.cfg names the last as it is
        conda = (prefix / "conda-meta").exists()  # its packages load more from lib/: MKL at run time
        yield from [prefix / "pyvenv.cfg", *prefix.glob("lib/*.so*" if conda else "lib/libpython*")]
        yield from prefix.glob("bin/python*")
    yield Path(sysconfig.get_path("stdlib"))
    yield Path(sysconfig.get_path("platstdlib"))
    yield Path(sysconfig.get_config_var("INCLUDEPY") or sysconfig.get_path("include"))


def _packages() -> Iterator[Path]:
    """Yield the top-level folders and files of the installed PACKAGES and of all they require."""
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
        tops |= set() if tops else set((package.read_text("top_level.txt") or name).split())  # Debian lists no files
        folder = Path(str(package.locate_file("."))).resolve()
        yield from (folder / top for top in sorted(tops))


def package_folders() -> list[Path]:
    """Return the folders from which this interpreter imports installed packages."""
    return [Path(path).resolve() for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]


def _compiler() -> Iterator[Path]:
    """Yield the files of a C and C++ compiler with its headers, if there is one."""
    yield from (
        Path(program) for name in PROGRAMS if (program := shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/sbin"))
    )
    if not (gcc := shutil.which("gcc", path="/usr/bin:/bin")):
        return
    yield HEADERS
    for name in COMPILED_WITH:
        program = _output([gcc, f"-print-prog-name={name}"])
        if Path(program).is_absolute():
            yield Path(program).parent
    for name in LINKED_WITH:
        file = _output([gcc, f"-print-file-name={name}"])
        if Path(file).is_absolute():
            yield Path(os.path.normpath(file))


def _libraries(paths: Iterable[Path]) -> list[Path]:
    """Return the shared libraries outside `paths` that programs and libraries in them load, as the loader reports."""
    folders = [path for path in paths if path.is_dir() and path != HEADERS]
    files = [path for path in paths if path.is_file()] + [file for folder in folders for file in _files(folder)]
    binaries = [file for file in files if ".so" in file.name or (os.access(file, os.X_OK) and not file.suffix)]
    libraries: set[Path] = set()
    for start in range(0, len(binaries), 200):
        for line in _output(["ldd", *map(str, binaries[start : start + 200])]).splitlines():
            name = line.partition("=>")[2].strip() or line.strip()
            if name.startswith("/") and not line.endswith(":"):
                libraries.add(Path(os.path.normpath(name.split(" (")[0])))
    for line in _output(["/sbin/ldconfig", "-p"]).splitlines():
        if DRIVER.match(line.strip()):
            libraries.add(Path(line.partition("=>")[2].strip()))
    return sorted(path for path in libraries if not any(path.is_relative_to(folder) for folder in folders))


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that are copied."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        yield from (Path(parent, name) for name in names if name not in LEFT_OUT)


def _output(command: list[str]) -> str:
    """Return what a command prints; empty if it cannot be started."""
    try:
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8").stdout.strip()
    except OSError:  # a machine without a linker cache, or without a compiler
        return ""


def total_bytes() -> int:
    """Return the size of the copy."""
    return sum(map(_size, sources()))


def _size(path: Path) -> int:
    return sum(file.lstat().st_size for file in _files(path)) if path.is_dir() else path.stat().st_size

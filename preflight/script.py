"""A record's script as it is shipped: does it compile, what does it read beside it, and how many bytes is that?"""

import ast
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from preflight import shim
from preflight.finding import Finding
from preflight.text import one_line

NAME = "train_gpt.py"
MOST_BYTES = 8 << 20
NOT_CODE = {".md", ".log", ".vocab", ".model", ".png"}  # and a record's own submission and requirements
NOT_READ = {"submission.json", "requirements.txt"}


@dataclass
class Script:
    """The file that is run and every file beside it that it names or imports."""

    main: str = ""
    main_bytes: int = 0
    parts: dict[str, int] = field(default_factory=dict)  # file name -> bytes, the main one first
    sizes: dict[str, int] = field(default_factory=dict)  # of all scripts in the folder: several studies may share it
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def code_bytes(self) -> int:
        return sum(self.parts.values())


def examine(folder: Path, logged_bytes: list[int]) -> Script:
    """The script of a record folder; another name than train_gpt.py is found by the bytes that the logs tell."""
    found = Script()
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    files = {name: path for name, path in files.items() if path.is_file() and not path.is_symlink()}
    scripts = [name for name in files if name.endswith(".py") and files[name].stat().st_size <= MOST_BYTES]
    here = [name for name in scripts if "/" not in name]
    if NAME not in here:
        found.findings.append(Finding("files", NAME, ", ".join(here) or "no script", "this file"))
    found.sizes = {name: files[name].stat().st_size for name in scripts}
    sized = [name for name in here if found.sizes[name] in logged_bytes]
    likely = [name for name in here if name.startswith("train")]
    found.main = next(iter([name for name in here if name == NAME] or sized or likely), "")
    if not found.main:
        return found
    found.main_bytes = found.parts[found.main] = found.sizes[found.main]
    if not found.main_bytes:
        found.findings.append(Finding("files", found.main, "an empty file", "the script that ran"))
    waiting = [found.main]
    while waiting:
        named, packages = _named(files[waiting.pop()], found)
        for name in files.keys() - found.parts.keys():
            *folders, last = name.split("/")
            read = last in named and Path(last).suffix not in NOT_CODE and last not in NOT_READ
            if read or (folders and folders[0] in packages):
                found.parts[name] = files[name].stat().st_size
                waiting += [name] if name in scripts else []
    found.parts = {found.main: found.main_bytes, **dict(sorted(found.parts.items()))}
    return found


def _named(path: Path, found: Script) -> tuple[set[str], set[str]]:
    """File names that a script and what is packed in it mention or import, and folders that they import."""
    names: set[str] = set()
    packages: set[str] = set()
    text = path.read_text("utf-8", "replace")
    sources = unpacked(text)
    if len(sources) > 1:
        found.notes.append(f"{path.name}: packed; {sum(map(len, sources[1:])):,} characters of code inside were read")
    for source in sources:
        try:
            tree = ast.parse(source)
            compile(tree, path.name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            _complain(path.name if source is text else f"{path.name}, unpacked", error, found)
            names |= _named_roughly(source)
            packages |= {name.removesuffix(".py") for name in names if name.endswith(".py")}
            continue
        constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        short = [value for value in constants if isinstance(value, str) and len(value) < 200]
        names |= {value.rsplit("/", 1)[-1] for value in short} | {f"{name}.py" for name in imports(source)}
        packages |= imports(source)
    return names, packages


def unpacked(script: str) -> list[str]:
    """A script and the sources that are packed in it, each once."""
    return list(dict.fromkeys(shim.sources(script)))


def imports(source: str) -> set[str]:
    """Top-level modules that a source imports; none of one that does not parse."""
    names: set[str] = set()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return names
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def _named_roughly(source: str) -> set[str]:
    """The same where this Python cannot parse the source."""
    quoted = re.findall(r"""["']([\w./-]*\w\.\w+)["']""", source)
    imported = re.findall(r"(?:^|[\n;:])\s*(?:from|import)\s+(\w+)", source)
    return {name.rsplit("/", 1)[-1] for name in quoted} | {f"{name}.py" for name in imported}


def _complain(name: str, error: Exception, found: Script) -> None:
    """Newer Pythons take more: quotes inside f-strings since 3.12 (PEP 701)."""
    told = one_line(str(error), 120)
    if "f-string" in told and sys.version_info < (3, 12):
        found.notes.append(f"{name}: not read, Python {sys.version_info[0]}.{sys.version_info[1]} says: {told}")
    else:
        found.findings.append(Finding("static", name, told, "a script that compiles"))

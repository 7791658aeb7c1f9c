"""Inspection of a record's script as shipped: whether it compiles, which files it reads, and their total size."""

import ast
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from common.text import one_line
from preflight.finding import Finding
from preflight.records import packed_script

NAME = "train_gpt.py"
MAX_BYTES = 8 << 20  # a larger .py file is not taken for a script
NOT_CODE = {".md", ".log", ".vocab", ".model", ".png"}  # suffixes that do not count as code
NOT_READ = {"submission.json", "requirements.txt"}


@dataclass
class Script:
    """The script that is run, and every file of the folder that it names or imports."""

    main: str = ""
    main_bytes: int = 0
    parts: dict[str, int] = field(default_factory=dict)  # file name -> bytes, the main one first
    sizes: dict[str, int] = field(default_factory=dict)  # of all scripts in the folder, which several studies may share
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def code_bytes(self) -> int:
        """Total size of the script and the files it uses."""
        return sum(self.parts.values())


def examine(folder: Path, logged_bytes: list[int]) -> Script:
    """Find a record's script; if it is not called train_gpt.py, by the code size that the logs state."""
    script = Script()
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    files = {name: path for name, path in files.items() if path.is_file() and not path.is_symlink()}
    scripts = [name for name in files if name.endswith(".py") and files[name].stat().st_size <= MAX_BYTES]
    top = [name for name in scripts if "/" not in name]
    if NAME not in top:
        script.findings.append(Finding("files", NAME, ", ".join(top) or "no script", "this file"))
    script.sizes = {name: files[name].stat().st_size for name in scripts}
    sized = [name for name in top if script.sizes[name] in logged_bytes]
    likely = [name for name in top if name.startswith("train")]
    script.main = next(iter([name for name in top if name == NAME] or sized or likely), "")
    if not script.main:
        return script
    script.main_bytes = script.parts[script.main] = script.sizes[script.main]
    if not script.main_bytes:
        script.findings.append(Finding("files", script.main, "an empty file", "the script that ran"))
    pending = [script.main]
    while pending:
        named, packages = _references(files[pending.pop()], script)
        for name in files.keys() - script.parts.keys():
            *folders, last = name.split("/")
            read = last in named and Path(last).suffix not in NOT_CODE and last not in NOT_READ
            if read or (folders and folders[0] in packages):
                script.parts[name] = files[name].stat().st_size
                pending += [name] if name in scripts else []
    script.parts = {script.main: script.main_bytes, **dict(sorted(script.parts.items()))}
    return script


def _references(path: Path, script: Script) -> tuple[set[str], set[str]]:
    """Return the file names that a script, or a source packed in it, mentions or imports, and the packages imported."""
    names: set[str] = set()
    packages: set[str] = set()
    text = path.read_text("utf-8", "replace")
    sources = unpacked(text)
    if len(sources) > 1:
        script.notes.append(f"{path.name}: packed; {sum(map(len, sources[1:])):,} characters of code inside were read")
    for source in sources:
        try:
            tree = ast.parse(source)
            compile(tree, path.name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            _complain(path.name if source is text else f"{path.name}, unpacked", error, script)
            names |= _references_by_pattern(source)
            packages |= {name.removesuffix(".py") for name in names if name.endswith(".py")}
            continue
        constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        short = [value for value in constants if isinstance(value, str) and len(value) < 200]
        names |= {value.rsplit("/", 1)[-1] for value in short} | {f"{name}.py" for name in imports(source)}
        packages |= imports(source)
    return names, packages


def unpacked(source: str) -> list[str]:
    """Return a script and the sources packed in it, without duplicates."""
    return list(dict.fromkeys(packed_script.sources(source)))


def imports(source: str) -> set[str]:
    """Return the top-level modules that a source imports; none if it does not parse."""
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


def _references_by_pattern(source: str) -> set[str]:
    """Return the file names that a source refers to, by regular expression, for one that this Python cannot parse."""
    quoted = re.findall(r"""["']([\w./-]*\w\.\w+)["']""", source)
    imported = re.findall(r"(?:^|[\n;:])\s*(?:from|import)\s+(\w+)", source)
    return {name.rsplit("/", 1)[-1] for name in quoted} | {f"{name}.py" for name in imported}


def _complain(name: str, error: Exception, script: Script) -> None:
    """Add a finding, or a note if a newer Python may accept it: quotes inside f-strings since 3.12 (PEP 701)."""
    message = one_line(str(error), 120)
    if "f-string" in message and sys.version_info < (3, 12):
        script.notes.append(f"{name}: not read, Python {sys.version_info[0]}.{sys.version_info[1]} says: {message}")
    else:
        script.findings.append(Finding("static", name, message, "a script that compiles"))

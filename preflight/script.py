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
NOT_CODE = {".md", ".json", ".log", ".txt", ".sh", ".vocab", ".model", ".png", ".tsv", ".csv", ".jsonl"}


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
    within = sorted(folder.rglob("*"), key=lambda path: (-len(path.parts), path))  # what stands higher goes first
    plain = {path.name: path for path in within if path.is_file() and not path.is_symlink()}
    scripts = [name for name in sorted(plain) if name.endswith(".py") and plain[name].stat().st_size <= MOST_BYTES]
    if NAME not in plain:
        found.findings.append(Finding("files", NAME, ", ".join(scripts) or "no script", "this file"))
    found.sizes = {name: plain[name].stat().st_size for name in scripts}
    sized = [name for name in scripts if plain[name].stat().st_size in logged_bytes]
    likely = [name for name in scripts if name.startswith("train")]
    found.main = next(iter([name for name in scripts if name == NAME] or sized or likely), "")
    if not found.main:
        return found
    found.main_bytes = plain[found.main].stat().st_size
    if not found.main_bytes:
        found.findings.append(Finding("files", found.main, "an empty file", "the script that ran"))
    found.parts[found.main] = found.main_bytes
    waiting = [found.main]
    while waiting:
        for name in sorted(_named(plain[waiting.pop()], found) & plain.keys() - found.parts.keys()):
            if Path(name).suffix not in NOT_CODE:
                found.parts[name] = plain[name].stat().st_size
                waiting += [name] if name in scripts else []
    return found


def _named(path: Path, found: Script) -> set[str]:
    """File names that a script and what is packed in it mention as text, and modules that they import."""
    names: set[str] = set()
    text = path.read_text("utf-8", "replace")
    sources = unpacked(text)
    if len(sources) > 1:
        found.notes.append(f"{path.name}: packed; {sum(map(len, sources[1:])):,} characters of code inside were read")
    for source in sources:
        try:
            tree = ast.parse(source)
        except SyntaxError as error:
            _complain(path.name if source is text else f"{path.name}, unpacked", error, found)
            names |= _named_roughly(source)
            continue
        constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        short = [value for value in constants if isinstance(value, str) and len(value) < 200]
        names |= {value.rsplit("/", 1)[-1] for value in short} | {f"{name}.py" for name in imports(source)}
    return names


def unpacked(script: str) -> list[str]:
    """A script and the sources that are packed in it, each once."""
    return list(dict.fromkeys(shim.sources(script)))


def imports(source: str) -> set[str]:
    """Top-level modules that a source imports; raises SyntaxError."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
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


def _complain(name: str, error: SyntaxError, found: Script) -> None:
    """Newer Pythons take more: quotes inside f-strings since 3.12 (PEP 701)."""
    told = one_line(str(error), 120)
    if "f-string" in told and sys.version_info < (3, 12):
        found.notes.append(f"{name}: not read, Python {sys.version_info[0]}.{sys.version_info[1]} says: {told}")
    else:
        found.findings.append(Finding("static", name, told, "a script that compiles"))

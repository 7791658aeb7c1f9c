"""What a prompt shows of base/: whole files where an idea is likely to land, signatures and first lines of the rest.

The order is for the prompt cache: files that every prompt shows come first, those of the asked class last, and within
each group what trials have changed least.
"""

import ast
from collections import Counter
from dataclasses import dataclass

from data.state import State
from experiments.ledger import Row
from experiments.proposal import part_of
from preflight import syntax
from preflight.boundary import LOCKED
from preflight.tree import Tree

# Every idea meets these: the knobs, what is switched on, how the pieces come together, the loop that trains them.
COMMON = ("base/config.py", "base/presets.py", "base/model/gpt.py", "base/train.py")
OF_CLASS = {  # where an idea of a class usually lands
    "architecture": ("base/model/",),
    "optimiser": ("base/optim/",),
    "schedule": (
        "base/optim/schedule.py",
        "base/optim/averaging.py",
        "base/optim/optimiser.py",
        "base/tokens/loader.py",
    ),
    "data": ("base/tokens/", "base/model/documents.py"),
    "quantisation": ("base/quant/", "base/optim/storage.py", "base/export.py"),
    "compression": ("base/compress/", "base/export.py", "base/quant/"),
    "evaluation": ("base/evaluate/", "base/model/ahead.py"),
    "simplify": ("base/techniques.py", "base/overrides.py", "base/challenge.py", "base/runtime.py"),
}
SIGNATURE_CHARACTERS = 160
TAGS_CHARACTERS = 60  # around each file


@dataclass(frozen=True)
class File:
    """One file as a prompt shows it."""

    path: str
    text: str
    locked: bool = False


@dataclass(frozen=True)
class Selection:
    """The three parts of base/ in a prompt, each in a stable order."""

    outlines: list[File]
    common: list[File]
    of_class: list[File]


def select(tree: Tree, kind: str, rows: list[Row], room: int) -> Selection:
    """What to show for one class of idea in at most `room` characters; what does not fit is shown by its signatures."""
    kept = Counter(path for row in rows if row.state is State.KEPT for path in paths_of(row))
    python = {path: source.content.decode("utf-8", "replace") for path, source in tree.items() if source.content}

    def stable(paths: list[str]) -> list[str]:
        return sorted(paths, key=lambda path: (kept[path], path))

    common = stable([path for path in COMMON if path in python])
    others = stable([path for path in python if path not in common])
    outlines = {path: File(path, outline(python[path]), path in LOCKED) for path in others}
    common = [path for path in common if len(python[path]) < room]
    room -= sum(len(python[path]) for path in common)
    for path in others:  # of a tree far larger than today's, the last are left out
        room -= len(outlines[path].text) + TAGS_CHARACTERS
        if room < 0:
            del outlines[path]
    whole = []
    for path in others:
        if path.startswith(OF_CLASS.get(kind, ())) and len(python[path]) + TAGS_CHARACTERS <= room:
            whole.append(path)
            room -= len(python[path]) + TAGS_CHARACTERS
    return Selection(
        outlines=list(outlines.values()),
        common=[File(path, python[path]) for path in common],
        of_class=[File(path, python[path], path in LOCKED) for path in whole],
    )


def paths_of(row: Row) -> list[str]:
    """The files that a row's proposal edits."""
    edits = part_of(row.proposal, "edits")
    return sorted({str(edit["path"]) for edit in edits}) if isinstance(edits, list) else []


def outline(text: str) -> str:
    """A module's first line of documentation, its classes and functions with their first lines, its constants."""
    try:
        module = syntax.parse(text.encode())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "(does not parse)"
    lines = [first_line(module)]
    for node in module.body:
        match node:
            case ast.ClassDef():
                bases = ", ".join(ast.unparse(base) for base in node.bases)
                lines.append(_clip(f"class {node.name}({bases}): {first_line(node)}"))
                lines += [
                    f"    {_signature(inner)}"
                    for inner in node.body
                    if isinstance(inner, ast.FunctionDef) and (inner.name == "__init__" or inner.name[0] != "_")
                ]
            case ast.FunctionDef():
                lines.append(_signature(node))
            case ast.Assign(targets=[ast.Name(id=name)]) if name.isupper():
                lines.append(_clip(f"{name} = {ast.unparse(node.value)}", 80))
    return "\n".join(line for line in lines if line.strip())


def first_line(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _signature(node: ast.FunctionDef) -> str:
    returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return _clip(f"def {node.name}({ast.unparse(node.args)}){returned}: {first_line(node)}")


def _clip(line: str, limit: int = SIGNATURE_CHARACTERS) -> str:
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"

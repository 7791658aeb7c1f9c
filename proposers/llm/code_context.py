"""The part of base/ that a prompt shows: whole files where an idea is likely to land, signatures of the rest.

The order suits the prompt cache: files that every prompt shows come first, those of the class last, and in each group
the files that kept trials changed least often come first.
"""

import ast
from collections import Counter
from dataclasses import dataclass

from experiments.ledger.rows import Row
from experiments.proposal.parts import part_of
from preflight.source import syntax
from preflight.source.boundary import LOCKED
from preflight.source.tree import Tree

# Relevant to every idea: the knobs, the presets, the assembly of the model, the training loop.
COMMON = ("base/config.py", "base/presets.py", "base/model/gpt.py", "base/train.py")
OF_CLASS = {  # files that an idea of a class usually changes; also by their names in runs before 2026-12
    "architecture": ("base/model/",),
    "optimizer": ("base/optim/",),
    "schedule": (
        "base/optim/schedule.py",
        "base/optim/averaging.py",
        "base/optim/optimizer.py",
        "base/optim/optimiser.py",
        "base/tokens/loader.py",
    ),
    "data": ("base/tokens/", "base/model/attention/document_mask.py", "base/model/documents.py"),
    "quantization": ("base/quant/", "base/optim/flat_parameters.py", "base/optim/storage.py", "base/export.py"),
    "compression": ("base/compress/", "base/export.py"),
    "evaluation": (
        "base/evaluate/scorer.py",
        "base/evaluate/sliding.py",
        "base/evaluate/window.py",
        "base/evaluate/knobs.py",
        "base/evaluate/experts/ngrams.py",
        "base/evaluate/experts/neighbors.py",
        "base/evaluate/experts/agreement.py",
        "base/evaluate/learning/online_bias.py",
        "base/evaluate/learning/stream.py",
        "base/evaluate/learning/adapters.py",
    ),
    "simplify": ("base/techniques.py", "base/overrides.py", "base/challenge.py", "base/runtime.py"),
}
SIGNATURE_CHARACTERS = 160
TAGS_CHARACTERS = 60  # of the tags around each file


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
    """Choose what to show for one class of idea.

    Args:
        tree: The incumbent's base/.
        kind: The class.
        rows: The trials so far, of which kept ones determine the order.
        room: Maximum number of characters; files that do not fit are shown by their signatures.
    """
    kept = Counter(path for row in rows if row.state.is_kept for path in paths_of(row))
    python = {path: source.content.decode("utf-8", "replace") for path, source in tree.items() if source.content}

    def stable(paths: list[str]) -> list[str]:
        return sorted(paths, key=lambda path: (kept[path], path))

    common = stable([path for path in COMMON if path in python])
    rest = stable([path for path in python if path not in common])
    outlines = {path: File(path, outline(python[path]), path in LOCKED) for path in rest}
    common = [path for path in common if len(python[path]) < room]
    room -= sum(len(python[path]) for path in common)
    for path in rest:  # in a much larger tree than today's, the last files are left out
        room -= len(outlines[path].text) + TAGS_CHARACTERS
        if room < 0:
            del outlines[path]
    whole = []
    for path in rest:
        if path.startswith(OF_CLASS.get(kind, ())) and len(python[path]) + TAGS_CHARACTERS <= room:
            whole.append(path)
            room -= len(python[path]) + TAGS_CHARACTERS
    return Selection(
        outlines=list(outlines.values()),
        common=[File(path, python[path]) for path in common],
        of_class=[File(path, python[path], path in LOCKED) for path in whole],
    )


def paths_of(row: Row) -> list[str]:
    """Return the files that a row's proposal edits."""
    edits = part_of(row.proposal, "edits")
    return sorted({str(edit["path"]) for edit in edits}) if isinstance(edits, list) else []


def outline(text: str) -> str:
    """Return a module's constants, classes and functions with the first lines of their docstrings."""
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

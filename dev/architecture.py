"""Print the layers of each package, computed from its imports, and everything that exceeds the size limits.

    python -m dev.architecture [PACKAGE ...]

A module lies one layer above the highest module that it imports; a cycle has no layers. The size limits are 250 lines
for a file, 60 for a function, and 14 modules for a folder. Exits with 1 if there is a cycle or something too large.
"""

import argparse
import ast
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

PACKAGES = ("common", "data", "preflight", "experiments", "proposers", "base")
CHECKED = (*PACKAGES, "dev", "tests")
MAX_LINES, MAX_FUNCTION_LINES, MAX_MODULES = 250, 60, 14


def imports_by_member(graph: grimp.ImportGraph, package: str) -> dict[str, set[str]]:
    """Map each direct member of a package to the members that it imports; `__init__` is not a member."""
    imports: dict[str, set[str]] = {name: set() for name in graph.find_children(package)}
    prefix = package + "."
    for module in graph.find_descendants(package):
        importer = prefix + module.removeprefix(prefix).partition(".")[0]
        for imported in graph.find_modules_directly_imported_by(module):
            if imported.startswith(prefix):
                other = prefix + imported.removeprefix(prefix).partition(".")[0]
                if other != importer:
                    imports[importer].add(other)
    return imports


def layers(imports: dict[str, set[str]]) -> dict[str, int]:
    """Return the layer of each member, counted from 1; raise CycleError."""
    layer: dict[str, int] = {}
    for member in TopologicalSorter(imports).static_order():
        layer[member] = 1 + max((layer[imported] for imported in imports[member]), default=0)
    return layer


def too_large(folders: Iterable[str]) -> list[str]:
    """Return one line for every file, function and folder that exceeds the size limits."""
    problems = []
    for folder in [path for top in folders for path in [Path(top), *Path(top).rglob("*/")]]:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        if len(files) > MAX_MODULES:
            problems.append(f"{folder}/: {len(files)} modules, at most {MAX_MODULES}")
        for path in files:
            source = path.read_text(encoding="utf-8")
            if (lines := source.count("\n")) > MAX_LINES:
                problems.append(f"{path}: {lines} lines, at most {MAX_LINES}")
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES:
                        problems.append(f"{path}:{node.lineno}: {node.name} has {lines}, at most {MAX_FUNCTION_LINES}")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", default=["experiments"], metavar="PACKAGE")
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    cycles = 0
    for package in parser.parse_args().packages:
        imports = imports_by_member(graph, package)
        summary = f"{package}: {len(imports)} members, {sum(map(len, imports.values()))} imports"
        try:
            layer = layers(imports)
        except CycleError as error:
            cycles += 1
            print(f"{summary}, a cycle: {' -> '.join(error.args[1])}")
            continue
        print(f"{summary}, {max(layer.values())} layers, no cycle")
        for member in sorted(imports, key=lambda name: (-layer[name], name)):
            names = ", ".join(sorted(name.removeprefix(package + ".") for name in imports[member]))
            print(f"  {layer[member]}  {member.removeprefix(package + '.'):18} {names}")
    large = too_large(CHECKED)
    print("\n".join(large))
    return bool(cycles or large)


if __name__ == "__main__":
    raise SystemExit(main())

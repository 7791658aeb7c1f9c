"""Resolution of a file's names to what they were imported as, followed through the other files of its tree."""

import ast
import sys

from preflight.lint.vocabulary import ALIASES, MODULES, NAMESAKES, PRIVATE
from preflight.source import syntax
from preflight.source.tree import Tree

Bindings = dict[str, set[str]]  # local name -> dotted names that it is imported as, anywhere in the file


class ImportMap:
    """The imports of all files of a tree, to resolve dotted names that pass through them."""

    def __init__(self, tree: Tree) -> None:
        self.paths = {syntax.module_name(path): path for path in tree}
        self.tree = tree
        self._by_path: dict[str, Bindings] = {}

    def bindings(self, path: str) -> Bindings:
        """Return the bindings of one file."""
        if path not in self._by_path:
            self._by_path[path] = import_bindings(syntax.parse(self.tree[path].content))
        return self._by_path[path]

    def resolve(self, dotted: str, seen: frozenset[str] = frozenset()) -> set[str]:
        """Return what a dotted name stands for: base.runtime.torch.load is torch.load, base's own names stay."""
        parts = dotted.split(".")
        split = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in self.paths), 0)
        if not split or split == len(parts) or dotted in seen:
            return {dotted}
        targets = self.bindings(self.paths[".".join(parts[:split])]).get(parts[split], set())
        rest = parts[split + 1 :]
        resolved = [self.resolve(".".join([target, *rest]), seen | {dotted}) for target in sorted(targets)]
        return set().union(*resolved) or {dotted}


def import_bindings(module: ast.Module) -> Bindings:
    """Return the names that imports bind anywhere in the file, even where a name is also used otherwise."""
    bindings: Bindings = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                bindings.setdefault(alias.asname or whole, set()).add(whole)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                bindings.setdefault(alias.asname or alias.name, set()).add(f"{node.module}.{alias.name}")
    return bindings


def is_member(module: str, name: str) -> bool:
    """Return True if base/ may use this member of a listed module."""
    allowed = MODULES[module].split()
    if name in allowed or "*" not in allowed or f"-{name}" in allowed:
        return name in allowed
    if name.startswith("_"):
        return module == "torch" and name.startswith(PRIVATE)
    namesake = name in NAMESAKES or name == module.rpartition(".")[2]
    return name not in ALIASES and (namesake or name not in sys.stdlib_module_names)

"""What the names of a file stand for: its imports, followed through the other files of its tree."""

import ast
import sys

from preflight import syntax
from preflight.tree import Tree
from preflight.vocabulary import ALIASES, MODULES, NAMESAKES, PRIVATE

Bindings = dict[str, set[str]]  # local name -> dotted names that it is imported as, anywhere in the file


class Bound:
    """What the files of a tree import, and what a dotted name that passes through them stands for."""

    def __init__(self, tree: Tree) -> None:
        self.paths = {syntax.module_name(path): path for path in tree}
        self.tree, self.files = tree, dict[str, Bindings]()

    def of(self, path: str) -> Bindings:
        if path not in self.files:
            self.files[path] = bindings(syntax.parse(self.tree[path].content))
        return self.files[path]

    def through(self, dotted: str, seen: frozenset[str] = frozenset()) -> set[str]:
        """base.runtime.torch.load is torch.load; what base defines itself stays as it is."""
        parts = dotted.split(".")
        split = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in self.paths), 0)
        if not split or split == len(parts) or dotted in seen:
            return {dotted}
        there = self.of(self.paths[".".join(parts[:split])]).get(parts[split], set())
        behind = [self.through(".".join([one, *parts[split + 1 :]]), seen | {dotted}) for one in sorted(there)]
        return set().union(*behind) or {dotted}


def bindings(module: ast.Module) -> Bindings:
    """Wherever in a file an import stands, and whatever else has that name there."""
    found: Bindings = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                found.setdefault(alias.asname or whole, set()).add(whole)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                found.setdefault(alias.asname or alias.name, set()).add(f"{node.module}.{alias.name}")
    return found


def is_member(module: str, name: str) -> bool:
    """Whether base/ may use a name of a listed module."""
    allowed = MODULES[module].split()
    if name in allowed or "*" not in allowed or f"-{name}" in allowed:
        return name in allowed
    if name.startswith("_"):
        return module == "torch" and name.startswith(PRIVATE)
    namesake = name in NAMESAKES or name == module.rpartition(".")[2]
    return name not in ALIASES and (namesake or name not in sys.stdlib_module_names)

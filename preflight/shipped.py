"""A tree as a record ships it: only the modules that its program reaches, without comments, docstrings and layout.

Names stay as they are, and so do literals and the annotations of arguments: a Triton kernel may neither read a
hoisted global nor lose a `tl.constexpr`. What runs is what the tree says; a record's seeds are measured on this form.
"""

import ast

import python_minifier

from data.errors import Refused
from data.state import State
from preflight import bundle, syntax
from preflight.phases import Target
from preflight.text import one_line
from preflight.tree import PLAIN, Source, Tree

ENTRY = "base.__main__"
KEPT = python_minifier.RemoveAnnotationsOptions(
    remove_variable_annotations=True,
    remove_return_annotations=True,
    remove_argument_annotations=False,
    remove_class_attribute_annotations=False,  # they are what makes a dataclass
)


def build(tree: Tree, target: Target) -> bytes:
    """The bundle of a record: minified, with the target's preset and environment as defaults; raises Refused."""
    return bundle.build(minified(reached(tree)), {"PRESET": target.preset, **target.environment})


def reached(tree: Tree) -> Tree:
    """The files that the program imports, by any path from its entry, wherever in a file an import stands."""
    paths = {syntax.module_name(path): path for path in tree}
    found: set[str] = set()
    waiting = [ENTRY]
    while waiting:
        module = waiting.pop()
        packages = [module.rsplit(".", count)[0] for count in range(module.count(".") + 1)]  # import each on the way
        for name in packages:
            if name in paths and name not in found:
                found.add(name)
                waiting += sorted(_imports(tree[paths[name]].content) & paths.keys())
    return {path: source for path, source in tree.items() if syntax.module_name(path) in found}


def _imports(content: bytes) -> set[str]:
    """Every module that a file may import; `from a import b` may mean the module a.b."""
    names: set[str] = set()
    for node in ast.walk(syntax.parse(content)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def minified(tree: Tree) -> Tree:
    """Every file without what only a reader needs; raises Refused where a file cannot be read."""
    small: Tree = {}
    for path, source in tree.items():
        try:
            text = python_minifier.minify(
                source.text,
                remove_annotations=KEPT,
                remove_literal_statements=True,
                hoist_literals=False,
                rename_locals=False,
            )
        except (SyntaxError, ValueError, RecursionError) as error:
            raise Refused(
                State.STATIC, f"{path}: expected Python that can be minified, got {one_line(str(error))}"
            ) from error
        small[path] = Source(PLAIN, text.encode("utf-8"))
    return small


def readable(tree: Tree, title: str) -> str:
    """All reached files as one, for people: it compiles, and is not what runs. `title` is one line."""
    parts = [f"# {title}\n# For reading: the files of base/ one after another. What ran is {bundle.NAME}.\n"]
    for path, source in sorted(reached(tree).items()):
        if text := source.text.strip():
            parts.append(f"# {'=' * 8} {path} {'=' * (100 - len(path))}\n\n{text}\n")
    return "\n\n".join(parts)

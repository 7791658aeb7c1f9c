"""The form of a tree that a record ships: only the modules its program imports, without comments and docstrings.

Names, literals and the annotations of arguments are kept: a Triton kernel may neither read a hoisted global nor lose a
`tl.constexpr`. The code behaves as the tree's does; a record's seeds are measured on this form.
"""

import ast
from collections.abc import Mapping

import python_minifier

from common.errors import Refused
from common.state import State
from common.text import one_line
from preflight.source import bundle, syntax
from preflight.source.tree import PLAIN, Source, Tree

ENTRY = "base.__main__"
KEPT_ANNOTATIONS = python_minifier.RemoveAnnotationsOptions(
    remove_variable_annotations=True,
    remove_return_annotations=True,
    remove_argument_annotations=False,
    remove_class_attribute_annotations=False,  # a dataclass needs them
)


def build(tree: Tree, defaults: Mapping[str, str]) -> bytes:
    """Return a record's bundle: minified, with `defaults` (a target's preset) for its environment; raises Refused."""
    return bundle.build(minify(reachable(tree)), dict(defaults))


def reachable(tree: Tree) -> Tree:
    """Return the files that the program imports, directly or not, anywhere in a file."""
    paths = {syntax.module_name(path): path for path in tree}
    seen: set[str] = set()
    pending = [ENTRY]
    while pending:
        module = pending.pop()
        for count in range(module.count(".") + 1):
            name = module.rsplit(".", count)[0]  # a module, then the packages above it, which Python imports as well
            if name in paths and name not in seen:
                seen.add(name)
                pending += sorted(_imports(tree[paths[name]].content) & paths.keys())
    return {path: source for path, source in tree.items() if syntax.module_name(path) in seen}


def _imports(content: bytes) -> set[str]:
    """Return every module that a file may import; `from a import b` may mean the module a.b."""
    names: set[str] = set()
    for node in ast.walk(syntax.parse(content)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def minify(tree: Tree) -> Tree:
    """Strip every file of comments, docstrings and layout; raises Refused for a file that cannot be parsed."""
    minified: Tree = {}
    for path, source in tree.items():
        try:
            text = python_minifier.minify(
                source.text,
                remove_annotations=KEPT_ANNOTATIONS,
                remove_literal_statements=True,
                hoist_literals=False,
                rename_locals=False,
            )
        except (SyntaxError, ValueError, RecursionError) as error:
            raise Refused(
                State.STATIC, f"{path}: expected Python that can be minified, got {one_line(str(error))}"
            ) from error
        minified[path] = Source(PLAIN, text.encode("utf-8"))
    return minified


def readable(tree: Tree, title: str) -> str:
    """Return all reachable files as one, for people; it compiles but is not what runs. `title` is one line."""
    parts = [f"# {title}\n# For reading: the files of base/ one after another. What ran is {bundle.NAME}.\n"]
    for path, source in sorted(reachable(tree).items()):
        if text := source.text.strip():
            parts.append(f"# {'=' * 8} {path} {'=' * (100 - len(path))}\n\n{text}\n")
    return "\n\n".join(parts)

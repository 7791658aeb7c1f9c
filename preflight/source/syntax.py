"""Syntax check of a tree: every file parses, and every import of base/ resolves inside the tree. Also code size."""

import ast
import warnings
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from functools import lru_cache

from common import limits
from common.state import State
from common.text import one_line
from preflight.finding import Finding
from preflight.source.tree import PLAIN, Tree

# base/ has 9.4 nodes per line as ast.unparse writes it (19,388 in 2,064, 2026-11-28). The best packer gets its files to
# between 11 and 46 bytes per line, minified and compressed: below that, hiding code in literals cannot pay.
NODES_PER_LINE, LITERAL_BYTES_PER_LINE = 9.4, 11.0


def check(tree: Tree, parent: Tree | None = None) -> list[Finding]:
    """Check every file; skip those equal to a checked parent's, unless a module of the parent is gone."""
    findings: list[Finding] = []
    modules: dict[str, str] = {}
    for path in sorted(tree):
        if (other := modules.setdefault(module_name(path), path)) != path:
            findings.append(
                Finding(State.STATIC, path, f"a second {module_name(path)}", f"one module per name: {other}")
            )
    checked = parent if parent is not None and {module_name(path) for path in parent} <= modules.keys() else {}
    for path, source in tree.items():
        if checked.get(path) == source:
            continue
        if source.mode != PLAIN or not path.endswith(".py"):
            findings.append(Finding(State.STATIC, path, f"mode {source.mode}", "a plain .py file"))
        elif len(source.content) > limits.FILE_BYTES:
            findings.append(Finding(State.STATIC, path, f"{len(source.content)} bytes", f"at most {limits.FILE_BYTES}"))
        else:
            findings += check_source(path, source.content, modules)
    if "base.__main__" not in modules:
        findings.append(Finding(State.STATIC, "base/__main__.py", "no such file", "the program's entry"))
    return findings


def check_source(path: str, content: bytes, modules: Container[str]) -> list[Finding]:
    """Check one file: it compiles, and imports of base are absolute and among `modules`."""
    try:
        tree = parse(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            compile(content, path, "exec", dont_inherit=True)  # catches what the parser lets pass: a repeated argument
    except SyntaxError as error:
        return [Finding(State.STATIC, path, one_line(error.msg), "Python that parses", error.lineno or 0)]
    except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes, bad UTF-8, nesting beyond the parser
        return [Finding(State.STATIC, path, type(error).__name__, "Python source in UTF-8", 0)]
    findings = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            findings.append(Finding(State.STATIC, path, "a relative import", "from base.… import …", node.lineno))
        for name in imported_modules(node):
            if name.partition(".")[0] == "base" and name not in modules:
                findings.append(
                    Finding(State.STATIC, path, f"import of {one_line(name, 80)}", "a module of this tree", node.lineno)
                )
    return findings


@lru_cache(maxsize=512)
def parse(content: bytes) -> ast.Module:
    """Return a file's syntax tree; cached and shared, so callers must not modify it."""
    return ast.parse(content.decode("utf-8-sig"))


def imported_modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return the modules that an import names; a relative import names none."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if node.module and not node.level else []


def module_name(path: str) -> str:
    """Return a path's module name: base/model/gpt.py -> base.model.gpt, base/model/__init__.py -> base.model."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def fingerprint(tree: Tree) -> dict[str, str]:
    """Return each file's syntax tree as text: trees with equal fingerprints differ only in comments and layout."""
    return {path: ast.dump(parse(source.content)) for path, source in tree.items() if path.endswith(".py")}


@dataclass(frozen=True)
class Size:
    """The amount of code, independent of comments, docstrings and layout."""

    nodes: int  # of the syntax tree
    literals: Counter[str | bytes | int]  # how often each occurs: text, bytes, and integers of more than 64 bits

    def net_lines(self, before: "Size") -> int:
        """Return the net gain in lines, of NODES_PER_LINE nodes or LITERAL_BYTES_PER_LINE bytes of new literals each.

        Removed literals do not count as a simplification: plain text is only there for the reader.
        """
        new = sum(_literal_bytes(literal) * count for literal, count in (self.literals - before.literals).items())
        return int((self.nodes - before.nodes) / NODES_PER_LINE + new / LITERAL_BYTES_PER_LINE)


def size(contents: Iterable[bytes]) -> Size:
    """Return the total size of some files; raises what `ast.parse` raises."""
    nodes, literals = 0, Counter[str | bytes | int]()
    for content in contents:
        module = parse(content)
        ignored = {id(part) for node in ast.walk(module) for part in _docstring_nodes(node)}
        for node in ast.walk(module):
            if id(node) in ignored or isinstance(node, ast.expr_context):
                continue
            nodes += 1
            value = node.value if isinstance(node, ast.Constant) else None
            if isinstance(value, str | bytes | int) and _literal_bytes(value):
                literals[value] += 1
    return Size(nodes, literals)


def _docstring_nodes(node: ast.AST) -> list[ast.AST]:
    """Return the nodes of this node's docstring; none if it has none."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            return [first, first.value]
    return []


def _literal_bytes(literal: str | bytes | int) -> int:
    if isinstance(literal, int):
        return literal.bit_length() // 8 if literal.bit_length() > 64 else 0
    return len(literal.encode("utf-8", "surrogatepass") if isinstance(literal, str) else literal)

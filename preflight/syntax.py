"""Does every file parse, and does every import of base/ resolve inside the tree?"""

import ast
import warnings
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from functools import lru_cache

from data.state import State
from preflight import limits
from preflight.finding import Finding
from preflight.text import one_line
from preflight.tree import PLAIN, Tree

# base/ has 9.4 nodes in a line as Python itself would write it (19,388 in 2,064, 2026-11-28). The best packer gets one
# of its files to between 14 and 46 bytes a line, minified and compressed: below that, hiding code cannot pay.
NODES_PER_LINE, LITERAL_BYTES_PER_LINE = 9.4, 14.0


def check(tree: Tree, parent: Tree | None = None) -> list[Finding]:
    """Findings of every file; a file of a parent that was checked need not be read again while no module has gone."""
    findings: list[Finding] = []
    modules: dict[str, str] = {}
    for path in sorted(tree):
        if (other := modules.setdefault(module_name(path), path)) != path:
            findings.append(
                Finding(State.STATIC, path, f"a second {module_name(path)}", f"one module of a name: {other}")
            )
    known = parent if parent is not None and {module_name(path) for path in parent} <= modules.keys() else {}
    for path, source in tree.items():
        if known.get(path) == source:
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
    try:
        tree = parse(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            compile(content, path, "exec", dont_inherit=True)  # sees what a parser lets pass: an argument given twice
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
        for name in imported(node):
            if name.partition(".")[0] == "base" and name not in modules:
                findings.append(
                    Finding(State.STATIC, path, f"import of {one_line(name, 80)}", "a module of this tree", node.lineno)
                )
    return findings


@lru_cache(maxsize=512)
def parse(content: bytes) -> ast.Module:
    """A file's syntax tree; shared by all who ask, so not to be changed."""
    return ast.parse(content.decode("utf-8-sig"))


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if node.module and not node.level else []


def module_name(path: str) -> str:
    """base/model/gpt.py -> base.model.gpt, base/model/__init__.py -> base.model."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def fingerprint(tree: Tree) -> dict[str, str]:
    """Per file, its syntax tree as text: equal fingerprints differ in nothing but comments and layout."""
    return {path: ast.dump(parse(source.content)) for path, source in tree.items() if path.endswith(".py")}


@dataclass(frozen=True)
class Size:
    """How much code there is, whatever its comments, docstrings and layout."""

    nodes: int  # of the syntax tree
    literals: Counter[str | bytes | int]  # how often each stands there: text, bytes, numbers beyond a machine's word

    def net_lines(self, before: "Size") -> int:
        """Whole lines gained (or, below 0, lost): NODES_PER_LINE nodes or LITERAL_BYTES_PER_LINE bytes of new literals.

        Literals that go are no simplification: text is there for a reader, and what is packed in it is not.
        """
        new = sum(bytes_of(literal) * count for literal, count in (self.literals - before.literals).items())
        return int((self.nodes - before.nodes) / NODES_PER_LINE + new / LITERAL_BYTES_PER_LINE)


def size(contents: Iterable[bytes]) -> Size:
    """The size of some files together; raises what `ast.parse` does."""
    nodes, literals = 0, Counter[str | bytes | int]()
    for content in contents:
        module = parse(content)
        unread = {id(part) for node in ast.walk(module) for part in docstring(node)}
        for node in ast.walk(module):
            if id(node) in unread or isinstance(node, ast.expr_context):
                continue
            nodes += 1
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes | int) and bytes_of(node.value):
                literals[node.value] += 1
    return Size(nodes, literals)


def docstring(node: ast.AST) -> list[ast.AST]:
    """The nodes of a docstring, if this is what has one."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            return [first, first.value]
    return []


def bytes_of(literal: str | bytes | int) -> int:
    if isinstance(literal, int):
        return literal.bit_length() // 8 if literal.bit_length() > 64 else 0
    return len(literal.encode("utf-8", "surrogatepass") if isinstance(literal, str) else literal)

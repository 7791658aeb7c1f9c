"""Does every file parse, and does every import of base/ resolve inside the tree?"""

import ast
import warnings
from collections.abc import Container
from functools import lru_cache

from preflight import limits
from preflight.finding import Finding
from preflight.tree import PLAIN, Tree


def check(tree: Tree, parent: Tree | None = None) -> list[Finding]:
    """Findings of every file; a file of a parent that was checked need not be read again while no module has gone."""
    findings: list[Finding] = []
    modules: dict[str, str] = {}
    for path in sorted(tree):
        if (other := modules.setdefault(module_name(path), path)) != path:
            findings.append(Finding("static", path, f"a second {module_name(path)}", f"one module of a name: {other}"))
    known = parent if parent is not None and {module_name(path) for path in parent} <= modules.keys() else {}
    for path, source in tree.items():
        if known.get(path) == source:
            continue
        if source.mode != PLAIN or not path.endswith(".py"):
            findings.append(Finding("static", path, f"mode {source.mode}", "a plain .py file"))
        elif len(source.content) > limits.FILE_BYTES:
            findings.append(Finding("static", path, f"{len(source.content)} bytes", f"at most {limits.FILE_BYTES}"))
        else:
            findings += check_source(path, source.content, modules)
    if "base.__main__" not in modules:
        findings.append(Finding("static", "base/__main__.py", "no such file", "the program's entry"))
    return findings


def check_source(path: str, content: bytes, modules: Container[str]) -> list[Finding]:
    try:
        tree = parse(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            compile(content, path, "exec", dont_inherit=True)  # sees what a parser lets pass: an argument given twice
    except SyntaxError as error:
        return [Finding("static", path, error.msg, "Python that parses", error.lineno or 0)]
    except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes, bad UTF-8, nesting beyond the parser
        return [Finding("static", path, type(error).__name__, "Python source in UTF-8", 0)]
    findings = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            findings.append(Finding("static", path, "a relative import", "from base.… import …", node.lineno))
        for name in imported(node):
            if name.partition(".")[0] == "base" and name not in modules:
                findings.append(Finding("static", path, f"import of {name}", "a module of this tree", node.lineno))
    return findings


@lru_cache(maxsize=512)
def parse(content: bytes) -> ast.Module:
    """A file's syntax tree; shared by all who ask, so not to be changed."""
    return ast.parse(content.decode("utf-8"))


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


def code_lines(content: bytes) -> int:
    """Lines of a file as Python itself would write it, without comments and docstrings; strings by their own."""
    module = ast.parse(content.decode("utf-8"))  # one of our own: docstrings are cut out of it
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    texts = [node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return sum(bool(line.strip()) for line in ast.unparse(module).splitlines()) + sum(
        text.count("\n") for text in texts
    )

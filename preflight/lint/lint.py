"""Lint of base/: it may name only what a trainer needs, and nothing that runs text, loads code, or opens connections.

Every name must be spelled out in the file: a module is always followed by a dot and a member that vocabulary.py lists,
and no attribute is looked up by a computed name. The sandbox does not rely on this lint. It makes sure that the code
that is read is the code that runs, and keeps attempts to break the sandbox from starting with a plain `exec`.
"""

import unicodedata
from collections import Counter

from common.state import State
from preflight.finding import Finding
from preflight.lint.bindings import ImportMap
from preflight.lint.names import check_names
from preflight.source import syntax
from preflight.source.boundary import LOCKED
from preflight.source.tree import Tree

INVISIBLE = ("Cc", "Cf", "Zl", "Zp")  # Unicode categories: control, format (direction), line and paragraph separators


def check(tree: Tree, parent: Tree | None = None) -> list[Finding]:
    """Lint every file that differs from the parent's; findings that the parent has as well are forgiven as often."""
    findings: list[Finding] = []
    parent = parent or {}
    imports, parent_imports = ImportMap(tree), ImportMap(parent)
    for path, source in sorted(tree.items()):
        before = parent.get(path)
        if path in LOCKED or source == before:
            continue
        earlier = check_file(path, before.content, parent_imports) if before else []
        forgiven = Counter(finding.got for finding in earlier)
        for finding in check_file(path, source.content, imports):
            if forgiven.get(finding.got, 0) > 0:
                forgiven[finding.got] -= 1
            else:
                findings.append(finding)
    return findings


def check_file(path: str, content: bytes, imports: ImportMap) -> list[Finding]:
    """Lint one file that parses; `imports` are those of its whole tree."""
    try:
        return [*invisible(path, content.decode("utf-8-sig")), *check_names(path, syntax.parse(content), imports)]
    except RecursionError:
        return [Finding(State.STATIC, path, "nesting too deep to parse", "shorter expressions")]


def invisible(path: str, text: str) -> list[Finding]:
    """Find characters that make a reader, or `inspect.getsource`, see other lines than Python does."""
    findings = []
    for number, line in enumerate(text.split("\n"), start=1):
        for character in sorted({each for each in line if unicodedata.category(each) in INVISIBLE} - {"\t"}):
            findings.append(Finding(State.STATIC, path, f"U+{ord(character):04X}", "visible characters", number))
    return findings

"""Does base/ name only what a trainer needs? Nothing that runs text, loads code, starts programs, opens connections.

Every name stands in the file: a module is only ever followed by a dot and a member that preflight/vocabulary.py knows,
and no attribute is looked up by a computed name. The walls hold without this; it is here so that what is read is what
runs, and a thousand attempts on the walls do not begin with `exec`.
"""

import unicodedata
from collections import Counter

from data.state import State
from preflight import syntax
from preflight.bindings import Bound
from preflight.boundary import LOCKED
from preflight.finding import Finding
from preflight.names import named
from preflight.tree import Tree

INVISIBLE = ("Cc", "Cf", "Zl", "Zp")  # control, direction, separators of lines and paragraphs


def check(tree: Tree, parent: Tree | None = None) -> list[Finding]:
    """What each file names that it may not; of a file that the parent has too, only what is more than there."""
    findings: list[Finding] = []
    parent = parent or {}
    bound, bound_before = Bound(tree), Bound(parent)
    for path, source in sorted(tree.items()):
        before = parent.get(path)
        if path in LOCKED or source == before:
            continue
        known = Counter(one.got for one in (check_file(path, before.content, bound_before) if before else ()))
        for finding in check_file(path, source.content, bound):
            if known.get(finding.got, 0) > 0:
                known[finding.got] -= 1
            else:
                findings.append(finding)
    return findings


def check_file(path: str, content: bytes, bound: Bound) -> list[Finding]:
    """One file that parses; `bound` tells what other files of its tree import."""
    try:
        return [*invisible(path, content.decode("utf-8-sig")), *named(path, syntax.parse(content), bound)]
    except RecursionError:
        return [Finding(State.STATIC, path, "nesting too deep to be read", "shorter expressions")]


def invisible(path: str, text: str) -> list[Finding]:
    """Characters that show a reader, or `inspect.getsource`, other lines than Python reads."""
    findings = []
    for number, line in enumerate(text.split("\n"), start=1):
        for sign in sorted({sign for sign in line if unicodedata.category(sign) in INVISIBLE} - {"\t"}):
            findings.append(Finding(State.STATIC, path, f"U+{ord(sign):04X}", "characters that can be seen", number))
    return findings

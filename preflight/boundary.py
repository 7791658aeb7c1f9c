"""Which paths a proposal may touch: checked on the proposal's names before anything is written, then on the tree."""

import re

from data.state import State
from preflight import limits
from preflight.finding import Finding
from preflight.syntax import module_name
from preflight.tree import PLAIN, Tree

LOCKED = frozenset(
    {
        "base/__main__.py",  # the phases
        "base/protocol.py",  # the wire format
        "base/native.py",  # the only place that compiles C
        "base/tokens/shards.py",  # how tokens are read
        "base/tokens/bpb.py",  # the log line's bytes per token
    }
)
ALLOWED_PATH = re.compile(r"base/([a-z0-9_]+/){0,4}[a-z0-9_]{1,60}\.py")


def check_path(path: str) -> list[Finding]:
    """A path that a proposal names."""
    if module_name(path) in {module_name(locked) for locked in LOCKED}:
        return [
            Finding(
                State.STATIC, path, "a locked file", "a file of base/ that is not one of " + ", ".join(sorted(LOCKED))
            )
        ]
    if not ALLOWED_PATH.fullmatch(path):
        return [Finding(State.STATIC, path, "a path outside base/", "base/**/name.py in lower case, no links, no '..'")]
    return []


def check_tree(tree: Tree, parent: Tree) -> list[Finding]:
    """The real tree against the one it was made from: only plain allowed files differ, locked files are the same."""
    findings = []
    for path in sorted(tree.keys() | parent.keys()):
        if tree.get(path) == parent.get(path):
            continue
        findings += check_path(path)
        if path in tree and tree[path].mode != PLAIN:
            findings.append(Finding(State.STATIC, path, f"mode {tree[path].mode}", f"a plain file, mode {PLAIN}"))
    if len(tree) > limits.TREE_FILES:
        findings.append(Finding(State.STATIC, "base", f"{len(tree)} files", f"at most {limits.TREE_FILES}"))
    return findings

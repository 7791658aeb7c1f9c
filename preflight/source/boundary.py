"""The paths that a proposal may touch, checked on its edits before anything is written, and then on the tree."""

import re

from common import limits
from common.state import State
from preflight.finding import Finding
from preflight.source.syntax import module_name
from preflight.source.tree import PLAIN, Tree

LOCKED = frozenset(
    {
        "base/__main__.py",  # the phases
        "base/protocol.py",  # the wire format
        "base/native.py",  # the only module that compiles C
        "base/c_source/mixing.py",  # that C
        "base/c_source/ngrams.py",
        "base/tokens/shards.py",  # how tokens are read
        "base/tokens/bpb.py",  # the log line's bytes per token
    }
)
ALLOWED_PATH = re.compile(r"base/([a-z0-9_]+/){0,4}[a-z0-9_]{1,60}\.py")


def check_path(path: str) -> list[Finding]:
    """Check one path that a proposal names."""
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
    """Check a tree against its parent: only plain files at allowed paths may differ, and no locked file."""
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

"""Whether a tree was tried before: by its syntax, and for who proposes, by the lines that it changes.

A diff that repeats nearly all lines of one that was measured and lost is refused with that result, before any compute
is spent on it; who proposes hears of it in the same conversation.
"""

import ast
import difflib
import hashlib
import io
import json
import tokenize
from functools import lru_cache

from data.errors import ProposalError
from data.state import State
from experiments.ledger import Row
from preflight import syntax
from preflight.tree import Tree

ALIKE = 0.8  # Jaccard index of two sets of changed lines
LEAST_LINES = 5  # in a smaller change one line or one number is the idea
SHOWN_HEX = 12
NAMES = 1 << 160


def fingerprint(tree: Tree, parent: Tree | None = None, known: str | None = None) -> str:
    """One name for all trees that differ in nothing but comments and layout: the sum of their files' hashes.

    With a parent whose name is `known`, only the files between the two are read: what goes is taken off, what comes
    added.
    """
    if parent is None or known is None:
        parent, known = {}, "0"
    changed = [path for path in tree.keys() | parent.keys() if tree.get(path) != parent.get(path)]
    total = int(known, 16) + _sum(tree, changed) - _sum(parent, changed)
    return f"{total % NAMES:040x}"


def _sum(tree: Tree, paths: list[str]) -> int:
    return sum(_hash(f"{path} {_syntax(tree[path].content)}") for path in paths if path in tree)


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


@lru_cache(maxsize=1024)
def _syntax(content: bytes) -> str:
    """The hash of a file's syntax tree, or of its bytes where it has none."""
    try:
        told = ast.dump(syntax.parse(content)).encode("utf-8", "backslashreplace")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        told = content
    return hashlib.sha256(told).hexdigest()


def change(tree: Tree, parent: Tree) -> frozenset[str]:
    """The lines that were added and removed, by file, spaces and comments aside: a short hash of each."""
    lines = set()
    for path in tree.keys() | parent.keys():
        if tree.get(path) != parent.get(path):
            before, after = (_code(side[path].content) if path in side else [] for side in (parent, tree))
            matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
            for tag, i1, i2, j1, j2 in matcher.get_opcodes():
                if tag != "equal":
                    signed = [f"{path} -{line}" for line in before[i1:i2]] + [
                        f"{path} +{line}" for line in after[j1:j2]
                    ]
                    lines |= {hashlib.sha256(line.encode()).hexdigest()[:SHOWN_HEX] for line in signed}
    return frozenset(lines)


def _code(content: bytes) -> list[str]:
    """A file's lines with one space between tokens and no comments; as they stand if they are no Python."""
    text = content.decode("utf-8", "replace")
    lines: dict[int, list[str]] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type != tokenize.COMMENT and token.string.strip():
                lines.setdefault(token.start[0], []).append(token.string)
    except (tokenize.TokenError, SyntaxError):
        return [" ".join(line.split()) for line in text.splitlines()]
    return [" ".join(line) for line in lines.values()]


def told(row: Row) -> str:
    """An earlier trial as an answer: `trial 0012 (discarded, +0.0031 bpb)`."""
    delta = f", {row.delta_bpb:+.4f} bpb" if row.delta_bpb is not None and row.valued else ""
    return f"trial {row.number:04d} ({row.state}{delta})"


def require_unlike(changed: frozenset[str], rows: list[Row]) -> None:
    """Raises ProposalError for a change that nearly repeats one that is being measured, or was and was not kept."""
    if len(changed) < LEAST_LINES:
        return
    for row in rows:
        if row.change and (row.state in (State.DISCARDED, State.REVERTED) or not row.state.finished):
            earlier = set(json.loads(row.change))
            share = len(changed & earlier) / len(changed | earlier)
            if share >= ALIKE:
                message = f"{share:.0%} of its lines are those of {told(row)}; expected another idea"
                raise ProposalError(State.DUPLICATE, message)

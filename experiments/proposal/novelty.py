"""Detection of repeated ideas: by the syntax of a whole tree, and for new proposals by the lines that they change.

A diff that repeats nearly all lines of one that was measured and discarded is refused with that result before any
compute is spent on it; the proposer gets the refusal in the same conversation.
"""

import ast
import difflib
import hashlib
import io
import json
import tokenize
from functools import lru_cache

from common.errors import ProposalError
from common.state import State
from experiments.ledger.rows import Row
from preflight.source import syntax
from preflight.source.tree import Tree

MIN_SIMILARITY = 0.8  # Jaccard index of two sets of changed lines
REFUSED_BEFORE = (State.DISCARDED, State.REVERTED, State.REVERTED_BY_PERSON)
MIN_LINES = 5  # in a smaller change a single line or number is the idea
LINE_HASH_DIGITS = 12
FINGERPRINT_MODULUS = 1 << 160


def fingerprint(tree: Tree) -> str:
    """Return one name for all trees that differ only in comments and layout: the sum of their files' hashes."""
    total = sum(_hash(f"{path} {_syntax(source.content)}") for path, source in tree.items())
    return f"{total % FINGERPRINT_MODULUS:040x}"


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


@lru_cache(maxsize=1024)
def _syntax(content: bytes) -> str:
    """Hash a file's syntax tree, or its bytes if it does not parse."""
    try:
        dump = ast.dump(syntax.parse(content)).encode("utf-8", "backslashreplace")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        dump = content
    return hashlib.sha256(dump).hexdigest()


def changed_line_hashes(tree: Tree, parent: Tree) -> frozenset[str]:
    """Return a short hash of every added and removed line, by file; spaces and comments do not count."""
    hashes = set()
    for path in tree.keys() | parent.keys():
        if tree.get(path) != parent.get(path):
            before, after = (_code(side[path].content) if path in side else [] for side in (parent, tree))
            matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
            for tag, i1, i2, j1, j2 in matcher.get_opcodes():
                if tag != "equal":
                    signed = [f"{path} -{line}" for line in before[i1:i2]] + [
                        f"{path} +{line}" for line in after[j1:j2]
                    ]
                    hashes |= {hashlib.sha256(line.encode()).hexdigest()[:LINE_HASH_DIGITS] for line in signed}
    return frozenset(hashes)


def _code(content: bytes) -> list[str]:
    """Return a file's lines with single spaces between tokens and no comments; unparsed if it is not Python."""
    text = content.decode("utf-8", "replace")
    lines: dict[int, list[str]] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type != tokenize.COMMENT and token.string.strip():
                lines.setdefault(token.start[0], []).append(token.string)
    except (tokenize.TokenError, SyntaxError):
        return [" ".join(line.split()) for line in text.splitlines()]
    return [" ".join(line) for line in lines.values()]


def describe_trial(row: Row) -> str:
    """Return a short description of an earlier trial: `trial 0012 (discarded, +0.0031 bpb)`."""
    delta = f", {row.delta_bpb:+.4f} bpb" if row.delta_bpb is not None and row.has_value else ""
    return f"trial {row.number:04d} ({row.state}{delta})"


def require_novel(changed: frozenset[str], rows: list[Row]) -> None:
    """Raise ProposalError for a change that nearly repeats one that is being measured or was measured and not kept."""
    if len(changed) < MIN_LINES:
        return
    for row in rows:
        if row.change and (row.state in REFUSED_BEFORE or not row.state.finished):
            earlier = set(json.loads(row.change))
            share = len(changed & earlier) / len(changed | earlier)
            if share >= MIN_SIMILARITY:
                message = f"{share:.0%} of its lines are those of {describe_trial(row)}; expected another idea"
                raise ProposalError(State.DUPLICATE, message)

"""Edits of a proposal: applied to a tree, derived from two trees, and counted."""

import difflib
from collections.abc import Callable, Mapping

from common import limits
from common.errors import ProposalError
from common.state import State
from experiments.proposal import matching
from experiments.proposal.parts import PERSON
from experiments.proposal.schema import Edit, Proposal
from preflight.source import boundary, syntax
from preflight.source.tree import PLAIN, Source, Tree


def edits_between(parent: Tree, tree: Tree) -> list[dict[str, str]]:
    """Return edits that turn one tree into the other; raises ProposalError for a file that is deleted or not text."""
    edits = []
    for path in sorted(parent.keys() | tree.keys()):
        before, after = parent.get(path), tree.get(path)
        if after is None:
            message = f"{path}: was deleted, and no edit can delete a file; leave it empty instead"
            raise ProposalError(State.BAD_DIFF, message)
        if before != after:
            try:
                old, new = before.text if before else "", after.text
            except UnicodeDecodeError as error:
                raise ProposalError(State.BAD_DIFF, f"{path}: expected UTF-8 text, found {error}") from error
            edits += [{"path": path, **hunk} for hunk in _hunks(old, new)]
    return edits


def _hunks(before: str, after: str) -> list[dict[str, str]]:
    """Return search and replace texts from the last change to the first, each with enough context to be unique."""
    lines, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    hunks = []
    for tag, i1, i2, j1, j2 in reversed(difflib.SequenceMatcher(None, lines, new, autojunk=False).get_opcodes()):
        if tag == "equal":
            continue
        head, tail, text = i1, i2, "".join(lines)
        while head == tail or count_matches(text, "".join(lines[head:tail])) != 1:
            if head == 0 and tail == len(lines):
                return [{"content": after}]
            head, tail = max(head - 1, 0), min(tail + 1, len(lines))
        replacement = [*lines[head:i1], *new[j1:j2], *lines[i2:tail]]
        hunks.append({"search": "".join(lines[head:tail]), "replace": "".join(replacement)})
        lines[i1:i2] = new[j1:j2]
    return hunks


def count_matches(text: str, search: str) -> int:
    """Count a search text's matches up to two; overlapping ones are two, which `str.count` would miss."""
    return max(text.count(search), 1 + (text.find(search) != text.rfind(search))) if search in text else 0


def apply(proposal: Proposal, parent: Tree, say: Callable[[str], None] = lambda _: None) -> Tree:
    """Apply the edits of a proposal in order.

    Args:
        proposal: The edits.
        parent: The tree to edit; it is not changed.
        say: Called with one line for each edit that applies although invisible characters differ.

    Returns:
        The edited tree.

    Raises:
        ProposalError: An edit does not apply, or the edits are too large.
    """
    for edit in proposal.edits:
        for finding in boundary.check_path(edit.path):
            raise ProposalError(State(finding.rule), str(finding))
    tree = dict(parent)
    for number, edit in enumerate(proposal.edits, start=1):
        try:
            text, note = _edited(edit, tree)
            tree[edit.path] = Source(PLAIN, text.encode("utf-8"))
            if note:
                say(f"edit {number}: {edit.path}{note}")
        except UnicodeEncodeError as error:
            message = f"edit {number}: {edit.path}: expected text that UTF-8 can encode"
            raise ProposalError(State.BAD_DIFF, message) from error
        except ProposalError as error:
            raise ProposalError(error.verdict, f"edit {number}: {error}") from error
    if proposal.by != PERSON:
        _check_extent(tree, parent)
    return tree


def is_no_op(tree: Tree, parent: Tree) -> bool:
    """Return True if two trees have the same syntax: nothing changed but comments and layout."""
    changed = [path for path in tree.keys() | parent.keys() if tree.get(path) != parent.get(path)]
    try:
        before, after = (
            syntax.fingerprint({path: side[path] for path in changed if path in side}) for side in (parent, tree)
        )
        return before == after
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False  # preflight reports files that do not parse


def changed_lines(tree: Mapping[str, Source], parent: Mapping[str, Source]) -> tuple[int, int]:
    """Return the number of lines added and removed between two trees."""
    removed, added = _changed(tree, parent)
    return len(added), len(removed)


def _changed(tree: Mapping[str, Source], parent: Mapping[str, Source]) -> tuple[list[bytes], list[bytes]]:
    """Return the removed and the added lines."""
    removed: list[bytes] = []
    added: list[bytes] = []
    for path in tree.keys() | parent.keys():
        if tree.get(path) == parent.get(path):
            continue
        before, after = (side[path].content.splitlines() if path in side else [] for side in (parent, tree))
        for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
            if tag != "equal":
                removed += before[i1:i2]
                added += after[j1:j2]
    return removed, added


def net_code_lines(tree: Tree, parent: Tree) -> int:
    """Return the lines that a reader gains (below 0: loses), measured by syntax so that layout does not matter."""
    changed = [path for path in tree.keys() | parent.keys() if tree.get(path) != parent.get(path)]
    try:
        after, before = (syntax.size(side[path].content for path in changed if path in side) for side in (tree, parent))
        return after.net_lines(before)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        added, removed = changed_lines(tree, parent)  # does not parse, or is nested too deeply: by lines of text
        return added - removed


def _edited(edit: Edit, tree: Tree) -> tuple[str, str]:
    """Return a file's new text, and a note on invisible differences or an empty string."""
    if edit.content is not None:
        if edit.search is not None or edit.replace is not None:
            message = f"{edit.path}: got both content and search/replace, expected one of the two"
            raise ProposalError(State.BAD_DIFF, message)
        return normalize_file(edit.content), ""
    if not edit.search or edit.replace is None:
        raise ProposalError(State.BAD_DIFF, f"{edit.path}: expected content, or search and replace")
    if edit.path not in tree:
        near = difflib.get_close_matches(edit.path, tree, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ProposalError(State.BAD_DIFF, f"{edit.path}: no such file{hint}")
    text = tree[edit.path].text
    matches = matching.find_matches(text, edit.search)
    if len(matches) != 1:
        reason = "give more lines around it" if matches else matching.explain_mismatch(edit.search, text)
        message = f"{edit.path}: search text matches {len(matches)} times, expected 1; {reason}"
        raise ProposalError(State.BAD_DIFF, message)
    (match,) = matches
    line = text.count("\n", 0, match.start) + 1
    note = f", line {line}: applied although {' and '.join(match.kinds)} differ" if match.kinds else ""
    replacement = matching.normalize(edit.replace, match.kinds)
    return text[: match.start] + replacement + text[match.end :], note


def normalize_file(text: str) -> str:
    """Return a whole file as base/ keeps it, whichever program saved it: no byte order mark, LF line ends."""
    return matching.normalize(text.removeprefix("\ufeff"), ())


def _check_extent(tree: Tree, parent: Tree) -> None:
    """Raise ProposalError if the edits are larger than a proposal may be."""
    files = sum(tree.get(path) != parent.get(path) for path in tree.keys() | parent.keys())
    lines = sum(changed_lines(tree, parent))
    if files > limits.PROPOSAL_FILES or lines > limits.PROPOSAL_LINES:
        allowed = f"at most {limits.PROPOSAL_FILES} files and {limits.PROPOSAL_LINES} lines"
        raise ProposalError(State.BAD_DIFF, f"edits change {files} files and {lines} lines, expected {allowed}")
    if (size := sum(map(len, _changed(tree, parent)[1]))) > limits.PROPOSAL_BYTES:
        raise ProposalError(State.BAD_DIFF, f"edits add {size} bytes of text, expected at most {limits.PROPOSAL_BYTES}")

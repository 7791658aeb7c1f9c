"""A proposal is data: a title, a hypothesis, and edits that must match exactly once."""

import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data.errors import ProposalError
from data.state import State
from experiments import matching
from preflight import boundary, limits, syntax
from preflight.text import one_line
from preflight.tree import PLAIN, Source, Tree

Class = Literal[
    "architecture", "optimiser", "schedule", "data", "quantisation", "compression", "evaluation", "simplify"
]
TAG = "[A-Z][0-9]{1,2}"  # of a lever in proposers/prompts/ideas.md
SEARCH, MERGE = "search", "merge"  # who may have made a proposal, beside models and programs
REFUSED = "refused"  # in what stands for a proposal where there is none: why
UNREADABLE = "unreadable proposal"
TEXT_BYTES = 400_000  # of a proposal as JSON


class Edit(BaseModel):
    """Either `search` and `replace` within a file, or its whole new `content`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    path: str
    search: str | None = None
    replace: str | None = None
    content: str | None = None


class Proposal(BaseModel):
    """One idea to try. `class` is a word of Python, so the field is `kind` here and `class` in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)

    title: Annotated[str, Field(min_length=1, max_length=500)]
    hypothesis: Annotated[str, Field(max_length=8_000)]
    kind: Annotated[Class, Field(alias="class")]
    parent: Annotated[str, Field(pattern=r"[0-9a-f]{40}")]  # the commit it was written against
    expected_delta_bpb: Annotated[float, Field(allow_inf_nan=False)]
    idea: Annotated[str, Field(pattern=f"^({TAG})?$")] = ""  # of proposers/prompts/ideas.md
    by: Annotated[str, Field(pattern=r"^[\w.-]{0,60}$")] = ""  # who proposed it: a model, search, merge, command
    edits: Annotated[tuple[Edit, ...], Field(min_length=1, strict=False)]

    @classmethod
    def parse(cls, text: str) -> "Proposal":
        """Read JSON; raises ProposalError that names the first field at fault."""
        if len(text) > TEXT_BYTES:
            raise ProposalError(State.BAD_DIFF, f"proposal: got {len(text)} characters, expected at most {TEXT_BYTES}")
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "proposal"
            raise ProposalError(State.BAD_DIFF, one_line(f"{place}: {first['msg']}")) from error

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True, exclude_none=True)


def edits_between(parent: Tree, tree: Tree) -> list[dict[str, str]]:
    """Edits that turn one tree into the other; raises ProposalError for a file that is gone or no text."""
    made = []
    for path in sorted(parent.keys() | tree.keys()):
        before, after = parent.get(path), tree.get(path)
        if after is None:
            raise ProposalError(State.BAD_DIFF, f"{path}: is gone, and no edit can delete; leave an empty file behind")
        if before != after:
            try:
                old, new = before.text if before else "", after.text
            except UnicodeDecodeError as error:
                raise ProposalError(State.BAD_DIFF, f"{path}: expected UTF-8 text, found {error}") from error
            made += [{"path": path, **hunk} for hunk in _hunks(old, new)]
    return made


def _hunks(before: str, after: str) -> list[dict[str, str]]:
    """Search and replace from the last change to the first, each with as many lines around it as make it unique."""
    lines, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    made = []
    for tag, i1, i2, j1, j2 in reversed(difflib.SequenceMatcher(None, lines, new, autojunk=False).get_opcodes()):
        if tag == "equal":
            continue
        head, tail, text = i1, i2, "".join(lines)
        while head == tail or matches(text, "".join(lines[head:tail])) != 1:
            if head == 0 and tail == len(lines):
                return [{"content": after}]
            head, tail = max(head - 1, 0), min(tail + 1, len(lines))
        replaced = [*lines[head:i1], *new[j1:j2], *lines[i2:tail]]
        made.append({"search": "".join(lines[head:tail]), "replace": "".join(replaced)})
        lines[i1:i2] = new[j1:j2]
    return made


def matches(text: str, search: str) -> int:
    """How often a search text occurs; occurrences that overlap are two, which `str.count` would miss."""
    return max(text.count(search), 1 + (text.find(search) != text.rfind(search))) if search in text else 0


def title_of(text: str) -> str:
    """The title of a proposal that may not be one: how a row is named and a script knows what it has tried."""
    title = part_of(text, "title")
    return UNREADABLE if title is None else one_line(str(title)) or UNREADABLE


def part_of(text: str, name: str) -> object:
    """One field of a proposal that may be any text, as a row of the ledger keeps it; None where there is none."""
    try:
        return json.loads(text)[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def edits_of(text: str) -> str:
    """The edits of a proposal that may be any text, in one form; empty if it has none."""
    edits = part_of(text, "edits")
    if not isinstance(edits, list) or not edits:
        return ""
    read = [edit for edit in edits if isinstance(edit, dict)]
    return json.dumps([{name: edit[name] for name in sorted(edit) if edit[name] is not None} for edit in read])


def by_of(text: str) -> str:
    """Who made a proposal that may be any text."""
    return str(part_of(text, "by") or "")


def idea_of(text: str) -> str:
    """The lever that it takes up, if it names one."""
    tag = str(part_of(text, "idea") or "")
    return tag if re.fullmatch(TAG, tag) else ""


def apply(proposal: Proposal, parent: Tree, say: Callable[[str], None] = lambda _: None) -> Tree:
    """The parent's tree with the edits made, in order; raises ProposalError and changes nothing on failure.

    `say` hears of edits that apply although invisible characters differ.
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
            raise ProposalError(
                State.BAD_DIFF, f"edit {number}: {edit.path}: expected text that UTF-8 can hold"
            ) from error
        except ProposalError as error:
            raise ProposalError(error.verdict, f"edit {number}: {error}") from error
    _check_extent(tree, parent)
    return tree


def is_no_op(tree: Tree, parent: Tree) -> bool:
    """Whether two trees have the same syntax: comments and layout aside, nothing changed."""
    changed = [path for path in tree.keys() | parent.keys() if tree.get(path) != parent.get(path)]
    try:
        before, after = (
            syntax.fingerprint({path: side[path] for path in changed if path in side}) for side in (parent, tree)
        )
        return before == after
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False  # a file that does not parse is preflight's to name


def changed_lines(tree: Mapping[str, Source], parent: Mapping[str, Source]) -> tuple[int, int]:
    """Lines added and removed between two trees."""
    gone, new = _changed(tree, parent)
    return len(new), len(gone)


def _changed(tree: Mapping[str, Source], parent: Mapping[str, Source]) -> tuple[list[bytes], list[bytes]]:
    """The lines that went and those that came."""
    gone: list[bytes] = []
    new: list[bytes] = []
    for path in tree.keys() | parent.keys():
        if tree.get(path) == parent.get(path):
            continue
        before, after = (side[path].content.splitlines() if path in side else [] for side in (parent, tree))
        for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
            if tag != "equal":
                gone += before[i1:i2]
                new += after[j1:j2]
    return gone, new


def net_code_lines(tree: Tree, parent: Tree) -> int:
    """Lines gained (or, below 0, lost) of what a reader has to read: by its syntax, however it is laid out."""
    changed = [path for path in tree.keys() | parent.keys() if tree.get(path) != parent.get(path)]
    try:
        after, before = (syntax.size(side[path].content for path in changed if path in side) for side in (tree, parent))
        return after.net_lines(before)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        added, removed = changed_lines(tree, parent)  # does not parse, or is nested beyond it: by lines of text
        return added - removed


def _edited(edit: Edit, tree: Tree) -> tuple[str, str]:
    """A file's new text, and what is to be said of it."""
    if edit.content is not None:
        if edit.search is not None or edit.replace is not None:
            raise ProposalError(
                State.BAD_DIFF, f"{edit.path}: got content beside search/replace, expected one of the two"
            )
        return as_saved(edit.content), ""
    if not edit.search or edit.replace is None:
        raise ProposalError(State.BAD_DIFF, f"{edit.path}: expected content, or search and replace")
    if edit.path not in tree:
        near = difflib.get_close_matches(edit.path, tree, n=1)
        raise ProposalError(
            State.BAD_DIFF, f"{edit.path}: no such file" + (f"; did you mean {near[0]}?" if near else "")
        )
    text = tree[edit.path].text
    found = matching.places(text, edit.search)
    if len(found) != 1:
        where = "give more lines around it" if found else matching.difference(edit.search, text)
        raise ProposalError(State.BAD_DIFF, f"{edit.path}: search text matches {len(found)} times, expected 1; {where}")
    (place,) = found
    differ = f", line {text.count(chr(10), 0, place.start) + 1}: applied though {' and '.join(place.kinds)} differ"
    replacement = matching.plain(edit.replace, place.kinds)
    return text[: place.start] + replacement + text[place.end :], differ if place.kinds else ""


def as_saved(text: str) -> str:
    """A whole file as base/ keeps it, whatever saved it: no byte order mark, line ends as LF."""
    return matching.plain(text.removeprefix("\ufeff"), ())


def _check_extent(tree: Tree, parent: Tree) -> None:
    files = sum(tree.get(path) != parent.get(path) for path in tree.keys() | parent.keys())
    lines = sum(changed_lines(tree, parent))
    if files > limits.PROPOSAL_FILES or lines > limits.PROPOSAL_LINES:
        allowed = f"at most {limits.PROPOSAL_FILES} files and {limits.PROPOSAL_LINES} lines"
        raise ProposalError(State.BAD_DIFF, f"edits change {files} files and {lines} lines, expected {allowed}")
    if (size := sum(map(len, _changed(tree, parent)[1]))) > limits.PROPOSAL_BYTES:
        raise ProposalError(State.BAD_DIFF, f"edits add {size} bytes of text, expected at most {limits.PROPOSAL_BYTES}")

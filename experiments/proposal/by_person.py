"""A person's own change as a proposal: a commit, a patch file, a folder, or a proposal's JSON, on top of the incumbent.

The change is what the person did, not how their base/ differs from the incumbent's: it is taken against the commit
that both share, and merged with what the run has kept since.
"""

import contextlib
import json
from collections import Counter
from pathlib import Path

from common.errors import CaddieError, ProposalError, WorkspaceError
from common.text import one_line
from experiments.proposal.parts import PERSON
from experiments.proposal.patch import apply, edits_between
from experiments.proposal.schema import Proposal
from experiments.repo.repository import Repository
from experiments.repo.workspace import Workspace
from preflight.source.tree import PLAIN, Source, Tree, read_folder

CLASS_OF_FOLDER = {
    "base/optim": "optimizer",
    "base/tokens": "data",
    "base/quant": "quantization",
    "base/compress": "compression",
    "base/evaluate": "evaluation",
}
FIELDS = {"hypothesis": "", "expected_delta_bpb": 0.0, "by": PERSON}  # of every such proposal
PATCH_STARTS = (b"diff --git", b"--- ", b"From ", b"commit ", b"Index: ")


def from_change(workspace: Workspace, change: str, parent: str, title: str = "", kind: str = "") -> Proposal:
    """Return a person's change as a proposal against the incumbent.

    Args:
        workspace: The repository.
        change: A commit or branch, a patch file, a folder that holds base/, or a proposal's JSON file.
        parent: The incumbent's commit.
        title: The title; empty for the commit's subject or the name of the file.
        kind: The class; empty for the class of the folder in which most files change.

    Raises:
        CaddieError: There is no such change, it does not touch base/, or it conflicts with what the run has kept.
    """
    path = Path(change)
    if path.is_file():
        content = path.read_bytes()
        if content.lstrip().startswith(b"{"):
            return _from_json(path, content, parent, title, kind)
        if not content.lstrip().startswith(PATCH_STARTS):
            raise CaddieError(
                f"{change}: expected a patch (`git diff > my.patch`) or a proposal in JSON, found neither"
            )
        return _proposal(workspace, parent, _patched(workspace, parent, path, content), title or path.name, kind)
    if path.is_dir():
        folder = path.parent if path.resolve().name == "base" else path
        if not (folder / "base").is_dir():
            raise CaddieError(f"{change}: expected a folder with base/ in it")
        before, name = _commit_below(workspace, folder.resolve(), parent)
        tree = workspace.write(_only_python(read_folder(folder)), before)
        return _proposal(workspace, parent, _merged(workspace, parent, before, tree), title or name, kind)
    try:
        commit = workspace.commit_of(change)
    except WorkspaceError as error:
        raise CaddieError(f"{change}: expected a commit, a branch, a patch file, a folder or a proposal") from error
    own = commit in workspace.trial_commits().values()  # a trial's change is that of its one commit
    before = workspace.commit_of(f"{commit}^") if own else workspace.merge_base(commit, parent)
    merged = _merged(workspace, parent, before, commit)
    return _proposal(workspace, parent, merged, title or workspace.subject(commit), kind)


def from_tree(workspace: Workspace, tree: Tree, parent: str, title: str, kind: str) -> Proposal:
    """Return a tree that differs from the incumbent's as a proposal; raises CaddieError if it does not."""
    return _proposal(workspace, parent, workspace.write(tree, parent), title, kind)


def rebase(workspace: Workspace, proposal: Proposal, parent: str) -> Proposal:
    """Return a proposal as one against another incumbent, merged with what the run has kept since.

    Raises:
        CaddieError: It conflicts with that.
    """
    tree = workspace.write(apply(proposal, workspace.read(proposal.parent)), proposal.parent)
    merged = _merged(workspace, parent, proposal.parent, tree, proposal)
    return _proposal(workspace, parent, merged, proposal.title, proposal.kind)


def _proposal(workspace: Workspace, parent: str, tree: str, title: str, kind: str) -> Proposal:
    before, after = workspace.read(parent), workspace.read(tree)
    deleted = [path for path in before if path not in after]
    after = {**after, **{path: Source(PLAIN, b"") for path in deleted}}  # no edit can delete a file
    changed = [path for path in after if after[path] != before.get(path)]
    if not changed:
        raise CaddieError("base/ is the incumbent's: there is no change to try")
    named = {"title": one_line(title, 200) or "a change by hand", "class": kind or _class_of(changed)}
    fields = {**FIELDS, **named, "parent": parent, "edits": edits_between(before, after)}
    return Proposal.parse(json.dumps(fields))


def _class_of(changed: list[str]) -> str:
    counts = Counter(CLASS_OF_FOLDER.get("/".join(path.split("/")[:2]), "architecture") for path in changed)
    return counts.most_common(1)[0][0]


def _from_json(path: Path, content: bytes, parent: str, title: str, kind: str) -> Proposal:
    try:
        fields = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CaddieError(f"{path}: expected one JSON object, found {one_line(str(error))}") from error
    chosen = {"title": title, "class": kind}
    fields = {"parent": parent, **fields, **{name: value for name, value in chosen.items() if value}, "by": PERSON}
    try:
        return Proposal.parse(json.dumps(fields))
    except ProposalError as error:
        raise CaddieError(f"{path}: {error}; docs/proposals.md describes the format") from error


def _commit_below(workspace: Workspace, folder: Path, parent: str) -> tuple[str, str]:
    """Return the commit that a folder's change is taken against, and a title for it."""
    try:
        head = Repository(folder).head()
        workspace.commit_of(head)  # of this repository or of a worktree of it
    except WorkspaceError:
        head = workspace.head()
    return workspace.merge_base(head, parent), f"the working tree of {folder.name}"


def _only_python(tree: Tree) -> Tree:
    return {path: source for path, source in tree.items() if path.endswith(".py")}


def _patched(workspace: Workspace, parent: str, path: Path, patch: bytes) -> str:
    """Return the incumbent's tree with a patch that was made against it or against the user's commit."""
    try:
        return workspace.patched(parent, patch)
    except WorkspaceError as first:
        head = workspace.head()
        try:
            tree = workspace.patched(head, patch)
        except WorkspaceError:
            problem = f"{path}: applies neither to the incumbent, {parent[:10]}, nor to HEAD"
            raise CaddieError(f"{problem}: {one_line(str(first), 300)}") from first
    return _merged(workspace, parent, head, tree)


def _merged(workspace: Workspace, parent: str, before: str, after: str, proposal: Proposal | None = None) -> str:
    """Return the incumbent's tree with a change: merged by git or, where lines next to each other changed, by edits.

    An edit that replaces a whole file is used only if the incumbent has not changed that file.
    """
    try:
        return workspace.merge(parent, before, after)
    except WorkspaceError as error:
        old, own = workspace.read(before), workspace.read(parent)
        if proposal is None:
            edits = edits_between(old, workspace.read(after))
            fields = {**FIELDS, "title": "a change", "class": "architecture", "parent": parent, "edits": edits}
            proposal = Proposal.parse(json.dumps(fields))
        if all(edit.content is None or old.get(edit.path) == own.get(edit.path) for edit in proposal.edits):
            with contextlib.suppress(ProposalError):  # then the message of git names the file
                return workspace.write(apply(proposal, own), parent)
        best = f"experiments/{workspace.run}/best"
        message = f"the change conflicts with what the run has kept: {one_line(str(error), 300)}"
        raise CaddieError(f"{message}; base it on the incumbent (git rebase {best}) and try again") from error

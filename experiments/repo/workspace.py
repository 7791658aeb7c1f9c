"""Git as the loop's memory, by plumbing alone: trees, commits and refs are written without a checkout.

The user's working tree, index, branches and hooks are never touched: every tree is built in a temporary index, hooks
and signing are off for our own commands, and only refs of this run move.

    refs/caddie/<run>/0042          the tree of trial 42, kept before anything runs
    refs/caddie/<run>/trials/0042   its one commit, written when the verdict is known
    experiments/<run>/0042          the same as a branch, if it was kept; in older runs, of every trial
    experiments/<run>/best          the incumbent
    refs/caddie/<run>/ledger        the ledger's mirror (experiments/ledger/mirror.py), only where a run is pushed
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from common.errors import WorkspaceError
from common.text import one_line
from experiments.repo.repository import SHALLOW, Repository, without_credentials
from preflight.source.tree import PLAIN as PLAIN_MODE
from preflight.source.tree import Source

NO_REF = "0" * 40
IDENTITY = {
    "GIT_AUTHOR_NAME": "caddie",
    "GIT_AUTHOR_EMAIL": "caddie@localhost",
    "GIT_COMMITTER_NAME": "caddie",
    "GIT_COMMITTER_EMAIL": "caddie@localhost",
}
# Options for a patch as git makes it by default, whatever diff tools and colors the user has configured
PLAIN_PATCH = ("-p", "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/")


class Workspace(Repository):
    """The repository that holds `base/`, as one run sees it.

    Args:
        root: The top of the repository.
        run: The name of the run.
        scratch: The name of the folder for temporary files, below the run's own; two threads need one each.

    Raises:
        WorkspaceError: Git or the repository is not usable; the message says what to do.
    """

    def __init__(self, root: Path, run: str, scratch: str = "scratch") -> None:
        super().__init__(root)
        self.run = run
        self.scratch = root / "trials" / run / scratch

    def trial_commits(self) -> dict[int, str]:
        """Return the commit of every settled trial of this run, by the trial's number."""
        prefixes = (f"refs/heads/experiments/{self.run}/", f"refs/caddie/{self.run}/trials/")
        lines = self._git("for-each-ref", "--format=%(refname) %(objectname)", *prefixes).splitlines()
        pairs = ((line.split(" ")[0].rpartition("/")[2], line.split(" ")[1]) for line in lines)
        return {int(name): commit for name, commit in pairs if name.isdecimal()}

    def push(self, remote: str) -> None:
        """Push this run's branches and refs; a second machine with the same run is noticed, not overwritten.

        Only `best` may move back, as a revert does, and only from a commit that this repository knows.
        """
        best, lease = f"refs/heads/experiments/{self.run}/best", []
        theirs = self._transfer("ls-remote", "--end-of-options", remote, best).split(b"\t")[0].decode()
        if theirs and self.has(theirs):
            lease = [f"--force-with-lease={best}:{theirs}"]
        self._transfer("push", "--quiet", *lease, "--end-of-options", remote, *self._refspecs())

    def fetch(self, remote: str) -> None:
        """Fetch this run's branches and refs from a remote."""
        self._transfer("fetch", "--quiet", "--no-tags", "--end-of-options", remote, *self._refspecs())

    def push_problem(self, remote: str) -> str:
        """Return the reason why a remote would not accept a push of this run; empty if it would. Sends nothing."""
        if self.is_shallow():
            return SHALLOW
        stores = [Path(remote, name) for name in ("objects", ".git/objects")]
        if any(store.is_dir() and not os.access(store, os.W_OK) for store in stores):
            return f"{remote} can be read but not written"
        try:
            target = f"HEAD:refs/caddie/{self.run}/doctor"
            self._transfer("push", "--quiet", "--dry-run", "--end-of-options", remote, target)
        except WorkspaceError as error:
            return one_line(without_credentials(str(error)), 200)
        return ""

    def best(self) -> str:
        """Return the incumbent's commit."""
        return self.commit_of(f"refs/heads/experiments/{self.run}/best")

    def write(self, tree: Mapping[str, Source], parent: str) -> str:
        """Write the parent's whole tree with base/ replaced; returns the id of the new tree."""
        before = self.read(parent)
        changed = {path: source for path, source in tree.items() if before.get(path) != source}
        return self._tree(parent, changed, deleted=[path for path in before if path not in tree])

    def commit_files(self, ref: str, files: Mapping[str, bytes], parent: str | None, message: str) -> None:
        """Commit new and updated files on `ref`, if the ref is still at `parent`."""
        tree = self._tree(parent, {path: Source(PLAIN_MODE, content) for path, content in files.items()})
        parents = ("-p", parent) if parent else ()
        commit = self._git("commit-tree", tree, *parents, "-m", message, env=IDENTITY)
        self._git("update-ref", ref, commit, parent or NO_REF)

    def _tree(self, parent: str | None, changed: Mapping[str, Source], deleted: Iterable[str] = ()) -> str:
        """Write a tree like the parent's with some files changed, using a temporary index; returns its id."""
        with self._scratch() as scratch:
            environment = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            if parent:
                self._git("read-tree", parent, env=environment)
            lines = [f"0 {NO_REF}\t{path}" for path in deleted]
            for number, (path, source) in enumerate(changed.items()):
                file = Path(scratch) / str(number)
                file.write_bytes(source.content)
                blob = self._git("hash-object", "-w", "--no-filters", str(file))
                lines.append(f"{source.mode} {blob}\t{path}")
            listing = Path(scratch) / "listing"
            listing.write_text("".join(f"{line}\0" for line in lines), encoding="utf-8")
            with listing.open("rb") as stdin:
                self._git("update-index", "-z", "--index-info", env=environment, istream=stdin)
            return self._git("write-tree", env=environment)

    def best_is_ahead_of_head(self) -> bool:
        """Return True if the incumbent's branch holds commits that the user's own does not."""
        best = self.resolve(f"refs/heads/experiments/{self.run}/best")
        return bool(best) and self._git("rev-list", "--count", str(best), "--not", "HEAD") != "0"

    def keep_tree(self, number: int, tree: str) -> None:
        """Keep a trial's tree with a ref before the trial runs."""
        ref = f"refs/caddie/{self.run}/{number:04d}"
        self._git("update-ref", ref, tree, self.resolve(ref) or NO_REF)

    def commit(self, number: int, tree: str, parent: str, message: str) -> str:
        """Write the one commit of a trial, under its own ref; raises WorkspaceError if there is one already."""
        with self._scratch() as scratch:
            file = Path(scratch) / "message"
            file.write_text(message, encoding="utf-8")
            commit = self._git("commit-tree", tree, "-p", parent, "-F", str(file), env=IDENTITY)
        self._git("update-ref", f"refs/caddie/{self.run}/trials/{number:04d}", commit, NO_REF)
        return commit

    def show_branch(self, number: int) -> str:
        """Give a settled trial a branch, if it has none; returns the branch's name."""
        branch = f"experiments/{self.run}/{number:04d}"
        if (commit := self.trial_commits().get(number)) is None:
            raise WorkspaceError(f"trial {number} of run {self.run} has no commit; `status` lists the trials")
        if self.resolve(f"refs/heads/{branch}") is None:
            self._git("update-ref", f"refs/heads/{branch}", commit, NO_REF)
        return branch

    def add_note(self, commit: str, text: str) -> None:
        """Append a git note to a commit, outside history: `git log --notes=caddie` shows it."""
        self._git("notes", "--ref=caddie", "append", "-m", text, commit, env=IDENTITY)

    def set_best(self, commit: str, before: str | None) -> None:
        """Move the incumbent's branch from `before`; raises WorkspaceError if it is no longer there."""
        self._git("update-ref", f"refs/heads/experiments/{self.run}/best", commit, before or NO_REF)

    def drop_commit(self, number: int, parent: str) -> None:
        """Delete the refs of a trial on `parent` that did not settle; its tree is kept."""
        for ref in (f"refs/caddie/{self.run}/trials/{number:04d}", f"refs/heads/experiments/{self.run}/{number:04d}"):
            if (commit := self.resolve(ref)) and self._git("rev-parse", "--verify", f"{commit}^") == parent:
                self._git("update-ref", "-d", ref, commit)

    def remove_stale_locks(self) -> None:
        """Remove locks and temporary files of this run that a killed git left behind.

        Only before any other process works on the run.
        """
        for scratch in self.scratch.parent.glob("scratch*"):
            shutil.rmtree(scratch, ignore_errors=True)
        refs = Path(self._git("rev-parse", "--path-format=absolute", "--git-common-dir")) / "refs"
        for folder in (refs / "heads" / "experiments" / self.run, refs / "caddie" / self.run):
            for lock in folder.rglob("*.lock"):
                lock.unlink(missing_ok=True)

    def diff(self, before: str, after: str) -> str:
        """Return the change of base/ between two commits."""
        patch = self._git_bytes("diff-tree", "-r", *PLAIN_PATCH, "--end-of-options", before, after, "--", "base")
        return patch.decode("utf-8", "replace")  # to its last newline, without which it does not apply

    def diffs(self, changes: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Return the changes of base/ of (before, after) pairs of commits by `after`; one process for all of them."""
        requests = "".join(f"{after} {before}\n" for before, after in changes).encode()
        with tempfile.TemporaryFile() as stream:
            stream.write(requests)
            stream.seek(0)
            output = self._git_bytes("diff-tree", "--stdin", "-r", *PLAIN_PATCH, "--", "base", istream=stream)
        # Each change follows the name of its commit; no line of a patch is a bare name.
        parts = re.split(r"(?m)^([0-9a-f]{40,64})\n", output.decode("utf-8", "replace"))
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    def run_refs(self) -> list[str]:
        """Return every branch and ref of this run."""
        patterns = (f"refs/heads/experiments/{self.run}/", f"refs/caddie/{self.run}/")
        return self._git("for-each-ref", "--format=%(refname)", *patterns).split()

    def delete_refs(self, refs: Iterable[str]) -> None:
        """Delete refs; their commits stay until git collects them."""
        for ref in refs:
            self._git("update-ref", "-d", ref)

    def merge(self, onto: str, before: str, after: str) -> str:
        """Return the tree of `onto` with the change of base/ between two trees; raises WorkspaceError on a conflict."""
        change = self._git_bytes(
            "diff-tree", "-r", "--binary", "--full-index", *PLAIN_PATCH, before, after, "--", "base"
        )
        return self.patched(onto, change)

    def patched(self, onto: str, patch: bytes) -> str:
        """Return the tree of `onto` with a patch applied to base/, by its blobs where its lines have moved.

        Raises:
            WorkspaceError: It does not apply.
        """
        with self._scratch() as scratch:
            index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            self._git("read-tree", onto, env=index)
            (file := Path(scratch) / "patch").write_bytes(patch)
            if patch.strip():
                self._git("apply", "--cached", "--3way", "--include=base/*", str(file), env=index)
            return self._git("write-tree", env=index)

    def merge_base(self, first: str, second: str) -> str:
        """Return the newest commit that two commits share; raises WorkspaceError if they share none."""
        return self._git("merge-base", first, second)

    def _scratch(self) -> tempfile.TemporaryDirectory[str]:
        """Create a temporary folder inside the run's own, so that a kill leaves nothing elsewhere."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=self.scratch)

    def _refspecs(self) -> list[str]:
        patterns = (f"refs/heads/experiments/{self.run}/*", f"refs/caddie/{self.run}/*")
        return [f"{refs}:{refs}" for refs in patterns]

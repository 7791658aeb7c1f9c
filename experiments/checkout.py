"""What a person asks for in their own repository: commits and branches of theirs, beside the loop's."""

from collections.abc import Iterable
from pathlib import Path

from data.errors import WorkspaceError
from experiments.workspace import IDENTITY, NO_REF, PLAIN, Workspace


class Checkout(Workspace):
    """The only place that writes to the person's branch or working tree, and only when a command says so."""

    def commit_paths(self, paths: Iterable[str], message: str) -> str:
        """Commit files of the person's checkout on its current branch, and nothing else that is staged."""
        files = list(paths)
        self._git("add", "--force", "--all", "--", *files)  # .gitignore may know logs
        try:
            self._git("commit", "--quiet", "--only", "-m", message, "--", *files, env=self._author())
        except WorkspaceError:
            self._git("reset", "--quiet", "--", *files)
            raise
        return self.head()

    def replay(self, onto: str, before: str, after: str, message: str) -> str:
        """The change of base/ between two commits on top of a third, as a commit of the person's; no checkout is used.

        Returns that commit itself where the change is there already; raises WorkspaceError where it does not apply.
        """
        onto = self.commit_of(onto)
        with self._scratch() as scratch:
            index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            self._git("read-tree", onto, env=index)
            patch = Path(scratch) / "patch"
            patch.write_bytes(
                self._git_bytes("diff-tree", "-r", "--binary", "--full-index", *PLAIN, before, after, "base")
            )
            if patch.stat().st_size:
                self._git("apply", "--cached", "--3way", str(patch), env=index)
            tree = self._git("write-tree", env=index)
            if tree == self.tree_of(onto):
                return onto
            told = Path(scratch) / "message"
            told.write_text(message, encoding="utf-8")
            return self._git("commit-tree", tree, "-p", onto, "-F", str(told), env=self._author())

    def restore_from_head(self, path: str) -> None:
        """A path of the working tree as it was committed."""
        self._git("checkout", "--quiet", "HEAD", "--", path)

    def branch(self, name: str, commit: str) -> None:
        """A new branch; raises WorkspaceError if there is one of that name, or one that leaves no room for it."""
        parts = name.split("/")
        for taken in ("/".join(parts[: count + 1]) for count in range(len(parts))):
            if there := self.resolve(f"refs/heads/{taken}"):
                mend = f"--branch NAME makes another, git branch -D {taken} gives that one up"
                raise WorkspaceError(f"branch {taken} is there already, at {there[:10]}; {mend}")
        if name.startswith("experiments/"):
            raise WorkspaceError(f"got branch {name}, expected one outside experiments/, where the loop's own stand")
        self._git("update-ref", f"refs/heads/{name}", commit, NO_REF)

    def _author(self) -> dict[str, str]:
        return {} if self.identity() else IDENTITY

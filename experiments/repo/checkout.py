"""Changes of the user's own repository, made only on command: their commits and branches, next to the loop's."""

from collections.abc import Iterable
from pathlib import Path

from common.errors import WorkspaceError
from experiments.repo.workspace import IDENTITY, NO_REF, Workspace


class Checkout(Workspace):
    """The only class that writes to the user's branch or working tree, and only when a command says so."""

    def commit_paths(self, paths: Iterable[str], message: str) -> str:
        """Commit files of the user's checkout on its current branch, and nothing else that is staged."""
        files = list(paths)
        self._git("add", "--force", "--all", "--", *files)  # .gitignore may list logs
        try:
            self._git("commit", "--quiet", "--only", "-m", message, "--", *files, env=self._author())
        except WorkspaceError:
            self._git("reset", "--quiet", "--", *files)
            raise
        return self.head()

    def replay(self, onto: str, before: str, after: str, message: str) -> str:
        """Apply the change of base/ between two commits on top of a third, as a commit of the user's.

        No checkout is used. Returns `onto` itself if it contains the change already.

        Raises:
            WorkspaceError: The change does not apply.
        """
        onto = self.commit_of(onto)
        tree = self.merge(onto, before, after)
        if tree == self.tree_of(onto):
            return onto
        with self._scratch() as scratch:
            message_file = Path(scratch) / "message"
            message_file.write_text(message, encoding="utf-8")
            return self._git("commit-tree", tree, "-p", onto, "-F", str(message_file), env=self._author())

    def restore_from_head(self, path: str) -> None:
        """Restore a path of the working tree to its committed state."""
        self._git("checkout", "--quiet", "HEAD", "--", path)

    def create_branch(self, name: str, commit: str) -> None:
        """Create a branch; raises WorkspaceError if the name, or a prefix that blocks it, is a branch already."""
        parts = name.split("/")
        for prefix in ("/".join(parts[: count + 1]) for count in range(len(parts))):
            if existing := self.resolve(f"refs/heads/{prefix}"):
                fix = f"choose another with --branch NAME, or delete it: git branch -D {prefix}"
                raise WorkspaceError(f"branch {prefix} exists already, at {existing[:10]}; {fix}")
        if name.startswith("experiments/"):
            raise WorkspaceError(f"got branch {name}, expected one outside experiments/, which holds the loop's own")
        self._git("update-ref", f"refs/heads/{name}", commit, NO_REF)

    def _author(self) -> dict[str, str]:
        return {} if self.identity() else IDENTITY

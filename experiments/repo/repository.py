"""Read access to a git repository through git's own commands: commits, trees, refs and settings."""

import os
import re
import shlex
import tempfile
from pathlib import Path

import git

from common.errors import WorkspaceError
from preflight.source.tree import Source, Tree

TRANSFER_SECONDS = 600

# Hooks, signing and garbage collection of the user's are off for our own commands
GIT_OPTIONS = ("-c", f"core.hooksPath={os.devnull}", "-c", "commit.gpgSign=false", "-c", "gc.auto=0")

# Git's own variables that are kept: how to reach and to trust a remote, which settings apply, and who the user is
KEPT_VARIABLES = (
    *("GIT_SSH", "GIT_ASKPASS", "GIT_TERMINAL_PROMPT", "GIT_SSL", "GIT_PROXY", "GIT_HTTP", "GIT_CURL", "GIT_TRACE"),
    *("GIT_EXEC_PATH", "GIT_PYTHON", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
    *("GIT_CONFIG_COUNT", "GIT_CONFIG_KEY", "GIT_CONFIG_VALUE"),
    *("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"),
)

SHALLOW = "this clone is shallow, and no remote accepts its commits; git fetch --unshallow"


def clear_git_environment() -> None:
    """Remove GIT_DIR, GIT_INDEX_FILE and similar variables: --root names the repository, not the calling process.

    A hook, `git rebase --exec` and bare dotfiles set them, and every git command below would work on that other
    repository.
    """
    for name in [name for name in os.environ if name.startswith("GIT_") and not name.startswith(KEPT_VARIABLES)]:
        del os.environ[name]


def without_credentials(text: str) -> str:
    """Return the text without the user and password that a URL in it may carry."""
    return re.sub(r"//[^/@\s]+@", "//…@", text)


class Repository:
    """Read access to one repository; raises WorkspaceError with the command that would fix the problem."""

    def __init__(self, root: Path) -> None:
        self.root = root
        clear_git_environment()
        try:
            self.git = git.Git(str(root))
            folder, _, prefix = self._git("rev-parse", "--absolute-git-dir", "--show-prefix").partition("\n")
        except git.GitCommandNotFound as error:
            raise WorkspaceError("git is missing; apt-get install git") from error
        except WorkspaceError as error:
            if "dubious ownership" in str(error):
                fix = f"git config --global --add safe.directory {shlex.quote(str(root.resolve()))}"
                raise WorkspaceError(f"{root}: belongs to another user, so git refuses to read it; {fix}") from error
            if "not a git repository" in str(error):
                fix = "git init && git add -A && git commit -m start"
                raise WorkspaceError(f"{root}: expected a git repository with a commit, found none; {fix}") from error
            raise
        if prefix:
            message = f"{root}: expected the top of a repository, found a folder of another, {folder}"
            raise WorkspaceError(f"{message}; git init && git add -A && git commit -m start makes it one of its own")
        self.git_dir = Path(folder)

    def head(self) -> str:
        """Return the commit that is checked out; raises WorkspaceError if there is none yet."""
        try:
            return self.commit_of("HEAD")
        except WorkspaceError as error:
            message = f"{self.root}: expected a commit, HEAD has none; git add -A && git commit -m start"
            raise WorkspaceError(message) from error

    def is_shallow(self) -> bool:
        """Return True if the history is cut off; other repositories do not accept such commits."""
        return self._git("rev-parse", "--is-shallow-repository") == "true"

    def commit_of(self, name: str) -> str:
        return self._git("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}")

    def subject(self, commit: str) -> str:
        """Return the first line of a commit's message."""
        return self._git("show", "--no-patch", "--format=%s", "--end-of-options", commit)

    def tree_of(self, commit: str) -> str:
        return self._git("rev-parse", "--verify", f"{commit}^{{tree}}")

    def base_of(self, commit: str) -> str:
        """Return the id of base/ in a commit."""
        return self._git("rev-parse", "--verify", "--end-of-options", f"{commit}:base")

    def resolve(self, ref: str) -> str | None:
        """Return the object that a ref points to; None if there is no such ref."""
        lines = self._git("for-each-ref", "--format=%(refname) %(objectname)", ref).splitlines()
        pairs = (line.split(" ") for line in lines)
        return next((oid for name, oid in pairs if name == ref), None)  # a pattern also matches all refs below it

    def listing(self, commit: str) -> dict[str, str]:
        """Return every file of a commit with the id of its blob."""
        entries = [line for line in self._git("ls-tree", "-r", "-z", commit).split("\0") if line]
        return {path: head.split(" ")[2] for head, path in (entry.split("\t", 1) for entry in entries)}

    def blob(self, blob: str) -> bytes:
        return self._git_bytes("cat-file", "blob", blob)

    def identity(self) -> str:
        """Return the user's own name and address in git; empty if they have not set both."""
        values = [self.setting(f"user.{name}") for name in ("name", "email")]
        return f"{values[0]} <{values[1]}>" if all(values) else ""

    def setting(self, name: str) -> str:
        """Return one of git's settings; empty if it is not set."""
        return self._git("config", "--default", "", "--get", name)

    def is_clean(self, path: str = "base") -> bool:
        """Return True if a path of the user's checkout is unchanged since HEAD; a run starts from the commit."""
        return not self._git("--no-optional-locks", "status", "--porcelain", "--", path)

    def read(self, commit: str) -> Tree:
        """Return base/ of a commit or tree."""
        entries = [line for line in self._git("ls-tree", "-r", "-z", commit, "--", "base").split("\0") if line]
        heads = {path: head.split(" ") for head, path in (entry.split("\t", 1) for entry in entries)}
        contents = self._blobs([blob for _, _, blob in heads.values()])
        return {
            path: Source(mode, content) for (path, (mode, _, _)), content in zip(heads.items(), contents, strict=True)
        }

    def _blobs(self, names: list[str]) -> list[bytes]:
        """Return the contents of blobs with a single git process.

        Its output for each is `<name> blob <size>`, a line break, the content, and another line break.
        """
        with tempfile.TemporaryFile() as requests:
            requests.write("".join(f"{name}\n" for name in names).encode())
            requests.seek(0)
            output = self._git_bytes("cat-file", "--batch", istream=requests)
        contents, at = [], 0
        for name in names:
            start = output.index(b"\n", at) + 1
            oid, kind, size = output[at : start - 1].decode().split(" ")
            assert (oid, kind) == (name, "blob")
            contents.append(output[start : start + int(size)])
            at = start + int(size) + 1
        return contents

    def has(self, name: str) -> bool:
        """Return True if the repository has an object."""
        try:
            self._git("cat-file", "-e", name)
        except WorkspaceError:
            return False
        return True

    def _transfer(self, *arguments: str) -> bytes:
        """Run a git command that uses the network: with a timeout, and without ever prompting for a password."""
        ssh = os.environ.get("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
        environment = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": ssh}
        return self._execute(arguments, ("timeout", "--kill-after=10", str(TRANSFER_SECONDS), "git"), env=environment)

    def _git(self, *arguments: str, **options: object) -> str:
        return self._execute(arguments, ("git",), **options).decode("utf-8", "surrogateescape").strip("\n")

    def _git_bytes(self, *arguments: str, **options: object) -> bytes:
        return self._execute(arguments, ("git",), strip_newline_in_stdout=False, **options)

    def _execute(self, arguments: tuple[str, ...], program: tuple[str, ...], **options: object) -> bytes:
        try:
            output = self.git.execute([*program, *GIT_OPTIONS, *arguments], stdout_as_string=False, **options)  # type: ignore[call-overload]
        except git.GitCommandError as error:
            reason = str(error.stderr).strip().strip("'")
            raise WorkspaceError(f"git {' '.join(arguments[:2])} failed: {reason}") from error
        assert isinstance(output, bytes)
        return output

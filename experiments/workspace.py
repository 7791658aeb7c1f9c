"""Git as the loop's memory, by plumbing alone: trees, commits and refs are made without a checkout.

The person's working tree, index, branches and hooks are never touched: every tree is built in a temporary index,
hooks and signing are off for our own commands, and only refs of this run move.

    refs/caddie/<run>/0042          the tree of trial 42, held before anything runs
    experiments/<run>/0042          its one commit, written when the verdict is known
    experiments/<run>/best          the incumbent
    refs/caddie/<run>/ledger        the ledger's mirror (experiments/mirror.py), only where a run is pushed
"""

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import git

from data.errors import WorkspaceError
from preflight.text import one_line
from preflight.tree import PLAIN as PLAIN_MODE
from preflight.tree import Source, Tree

TRANSFER_SECONDS = 600
NO_REF = "0" * 40
IDENTITY = {
    "GIT_AUTHOR_NAME": "caddie",
    "GIT_AUTHOR_EMAIL": "caddie@localhost",
    "GIT_COMMITTER_NAME": "caddie",
    "GIT_COMMITTER_EMAIL": "caddie@localhost",
}
# A patch as git makes it where nobody has set anything: the person's own tools and colours are for people.
PLAIN = ("-p", "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/")
OURS = ("-c", f"core.hooksPath={os.devnull}", "-c", "commit.gpgSign=false", "-c", "gc.auto=0")


SHALLOW = "this clone is shallow, and no remote takes its commits; git fetch --unshallow"
# Of git's own variables: how to reach and to trust a remote, whose settings hold, and who a person is
PASSED = (
    *("GIT_SSH", "GIT_ASKPASS", "GIT_TERMINAL_PROMPT", "GIT_SSL", "GIT_PROXY", "GIT_HTTP", "GIT_CURL", "GIT_TRACE"),
    *("GIT_EXEC_PATH", "GIT_PYTHON", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
    *("GIT_CONFIG_COUNT", "GIT_CONFIG_KEY", "GIT_CONFIG_VALUE"),
    *("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"),
)


def forget_another_repository() -> None:
    """Take GIT_DIR, GIT_INDEX_FILE and their like out of the environment: --root says where, not who started caddie.

    A hook, `git rebase --exec` and bare dotfiles set them, and every git below would work on that other repository.
    """
    for name in [name for name in os.environ if name.startswith("GIT_") and not name.startswith(PASSED)]:
        del os.environ[name]


def without_credentials(text: str) -> str:
    """Text without the user and password that a URL in it may carry."""
    return re.sub(r"//[^/@\s]+@", "//…@", text)


class Workspace:
    """The repository that holds `base/`, as one run sees it."""

    def __init__(self, root: Path, run: str, scratch: str = "scratch") -> None:
        self.root, self.run = root, run
        self.scratch = root / "trials" / run / scratch  # two threads have one each
        forget_another_repository()
        try:
            self.git = git.Git(str(root))
            folder, _, below = self._git("rev-parse", "--absolute-git-dir", "--show-prefix").partition("\n")
        except git.GitCommandNotFound as error:
            raise WorkspaceError("git is missing; apt-get install git") from error
        except WorkspaceError as error:
            if "dubious ownership" in str(error):
                mend = f"git config --global --add safe.directory {shlex.quote(str(root.resolve()))}"
                raise WorkspaceError(f"{root}: belongs to another user, so git does not read it; {mend}") from error
            if "not a git repository" in str(error):
                mend = "git init && git add -A && git commit -m start"
                raise WorkspaceError(f"{root}: expected a git repository with a commit, found none; {mend}") from error
            raise
        if below:
            told = f"{root}: expected the top of a repository, found a folder of another, {folder}"
            raise WorkspaceError(f"{told}; git init && git add -A && git commit -m start makes it one of its own")
        self.git_dir = Path(folder)

    def head(self) -> str:
        try:
            return self.commit_of("HEAD")
        except WorkspaceError as error:
            told = f"{self.root}: expected a commit, HEAD has none; git add -A && git commit -m start"
            raise WorkspaceError(told) from error

    def is_shallow(self) -> bool:
        """Whether history is cut off, which other repositories do not take."""
        return self._git("rev-parse", "--is-shallow-repository") == "true"

    def trial_branches(self) -> dict[int, str]:
        """The commit on every branch of a trial of this run."""
        prefix = f"refs/heads/experiments/{self.run}/"
        listed = self._git("for-each-ref", "--format=%(refname:lstrip=4) %(objectname)", prefix)
        named = (line.split(" ") for line in listed.splitlines())
        return {int(name): commit for name, commit in named if name.isdecimal()}

    def commit_of(self, name: str) -> str:
        return self._git("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}")

    def tree_of(self, commit: str) -> str:
        return self._git("rev-parse", "--verify", f"{commit}^{{tree}}")

    def resolve(self, ref: str) -> str | None:
        """The object a ref points to, if there is such a ref."""
        listed = self._git("for-each-ref", "--format=%(refname) %(objectname)", ref).splitlines()
        named = (line.split(" ") for line in listed)
        return next((found for name, found in named if name == ref), None)  # a pattern matches all below it too

    def listing(self, commit: str) -> dict[str, str]:
        """Every file of a commit with the id of its blob."""
        entries = [line for line in self._git("ls-tree", "-r", "-z", commit).split("\0") if line]
        return {path: head.split(" ")[2] for head, path in (entry.split("\t", 1) for entry in entries)}

    def blob(self, blob: str) -> bytes:
        return self._git_bytes("cat-file", "blob", blob)

    def push(self, remote: str) -> None:
        """Send this run's branches and refs; never forced, so two machines under one name are told apart."""
        self._transfer("push", "--quiet", "--end-of-options", remote, *self._refspecs())

    def fetch(self, remote: str) -> None:
        """Bring this run's branches and refs from a remote."""
        self._transfer("fetch", "--quiet", "--no-tags", "--end-of-options", remote, *self._refspecs())

    def unreachable(self, remote: str) -> str:
        """Why a remote would not take what this run pushes; empty if it would. Sends nothing."""
        if self.is_shallow():
            return SHALLOW
        stores = [Path(remote, name) for name in ("objects", ".git/objects")]
        if any(store.is_dir() and not os.access(store, os.W_OK) for store in stores):
            return f"{remote} can be read and not written"
        try:
            target = f"HEAD:refs/caddie/{self.run}/doctor"
            self._transfer("push", "--quiet", "--dry-run", "--end-of-options", remote, target)
        except WorkspaceError as error:
            return one_line(without_credentials(str(error)), 200)
        return ""

    def identity(self) -> str:
        """The person's own name in git, or nothing."""
        values = [self.setting(f"user.{name}") for name in ("name", "email")]
        return f"{values[0]} <{values[1]}>" if all(values) else ""

    def setting(self, name: str) -> str:
        """One of git's settings, or nothing."""
        return self._git("config", "--default", "", "--get", name)

    def best(self) -> str:
        return self.commit_of(f"refs/heads/experiments/{self.run}/best")

    def is_clean(self, path: str = "base") -> bool:
        """Whether a path in the person's checkout is what HEAD says; a run starts from the commit."""
        return not self._git("--no-optional-locks", "status", "--porcelain", "--", path)

    def read(self, commit: str) -> Tree:
        """base/ of a commit or tree."""
        entries = [line for line in self._git("ls-tree", "-r", "-z", commit, "--", "base").split("\0") if line]
        heads = {path: head.split(" ") for head, path in (entry.split("\t", 1) for entry in entries)}
        contents = self._blobs([blob for _, _, blob in heads.values()])
        return {
            path: Source(mode, content) for (path, (mode, _, _)), content in zip(heads.items(), contents, strict=True)
        }

    def _blobs(self, names: list[str]) -> list[bytes]:
        """The contents of blobs by one process of git: `<name> blob <size>`, a line break, the content, another one."""
        with tempfile.TemporaryFile() as asked:
            asked.write("".join(f"{name}\n" for name in names).encode())
            asked.seek(0)
            told = self._git_bytes("cat-file", "--batch", istream=asked)
        contents, at = [], 0
        for name in names:
            start = told.index(b"\n", at) + 1
            found, kind, size = told[at : start - 1].decode().split(" ")
            assert (found, kind) == (name, "blob")
            contents.append(told[start : start + int(size)])
            at = start + int(size) + 1
        return contents

    def write(self, tree: Mapping[str, Source], parent: str) -> str:
        """The parent's whole tree with base/ replaced; returns the id of the new tree."""
        before = self.read(parent)
        changed = {path: source for path, source in tree.items() if before.get(path) != source}
        return self._tree(parent, changed, gone=[path for path in before if path not in tree])

    def record(self, ref: str, files: Mapping[str, bytes], parent: str | None, message: str) -> None:
        """A commit on `ref` that adds or renews files, if the ref is still at `parent`."""
        tree = self._tree(parent, {path: Source(PLAIN_MODE, content) for path, content in files.items()})
        parents = ("-p", parent) if parent else ()
        commit = self._git("commit-tree", tree, *parents, "-m", message, env=IDENTITY)
        self._git("update-ref", ref, commit, parent or NO_REF)

    def _tree(self, parent: str | None, changed: Mapping[str, Source], gone: Iterable[str] = ()) -> str:
        """A tree like the parent's with some files changed, made in an index of its own."""
        with self._scratch() as scratch:
            environment = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            if parent:
                self._git("read-tree", parent, env=environment)
            lines = [f"0 {NO_REF}\t{path}" for path in gone]
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

    def beyond_head(self) -> bool:
        """Whether the incumbent's branch holds commits that the person's own does not."""
        best = self.resolve(f"refs/heads/experiments/{self.run}/best")
        return bool(best) and self._git("rev-list", "--count", str(best), "--not", "HEAD") != "0"

    def hold(self, number: int, tree: str) -> None:
        """Keep a trial's tree before it runs."""
        ref = f"refs/caddie/{self.run}/{number:04d}"
        self._git("update-ref", ref, tree, self.resolve(ref) or NO_REF)

    def commit(self, number: int, tree: str, parent: str, message: str) -> str:
        """The one commit of a trial, on its own branch; raises WorkspaceError if there is one already."""
        with self._scratch() as scratch:
            file = Path(scratch) / "message"
            file.write_text(message, encoding="utf-8")
            commit = self._git("commit-tree", tree, "-p", parent, "-F", str(file), env=IDENTITY)
        self._git("update-ref", f"refs/heads/experiments/{self.run}/{number:04d}", commit, NO_REF)
        return commit

    def note(self, commit: str, text: str) -> None:
        """A later word on a commit, beside history: `git log --notes=caddie` shows it."""
        self._git("notes", "--ref=caddie", "append", "-m", text, commit, env=IDENTITY)

    def set_best(self, commit: str, before: str | None) -> None:
        """Move the incumbent's branch from where it was read; raises WorkspaceError if it is not there any more."""
        self._git("update-ref", f"refs/heads/experiments/{self.run}/best", commit, before or NO_REF)

    def drop(self, number: int, parent: str) -> None:
        """Forget the branch of a trial on `parent` that did not settle; its tree stays held."""
        ref = f"refs/heads/experiments/{self.run}/{number:04d}"
        if (commit := self.resolve(ref)) and self._git("rev-parse", "--verify", f"{commit}^") == parent:
            self._git("update-ref", "-d", ref, commit)

    def unlock(self) -> None:
        """Remove what a git that was killed left of this run; only before anything else works on it."""
        for scratch in self.scratch.parent.glob("scratch*"):
            shutil.rmtree(scratch, ignore_errors=True)
        common = Path(self._git("rev-parse", "--path-format=absolute", "--git-common-dir"))
        for folder in (common / "refs" / "heads" / "experiments" / self.run, common / "refs" / "caddie" / self.run):
            for lock in folder.glob("*.lock"):
                lock.unlink(missing_ok=True)

    def diff(self, one: str, other: str) -> str:
        """The change of base/ between two commits."""
        return self._git("diff-tree", "-r", *PLAIN, "--end-of-options", one, other, "--", "base")

    def _scratch(self) -> tempfile.TemporaryDirectory[str]:
        """A temporary folder inside the run's own, so that a kill leaves nothing elsewhere."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=self.scratch)

    def _refspecs(self) -> list[str]:
        mine = (f"refs/heads/experiments/{self.run}/*", f"refs/caddie/{self.run}/*")
        return [f"{refs}:{refs}" for refs in mine]

    def _transfer(self, *arguments: str) -> None:
        """A git command that may hang on a network or ask for a password: neither for ever, nor at all."""
        ssh = os.environ.get("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
        environment = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": ssh}
        self._execute(arguments, ("timeout", "--kill-after=10", str(TRANSFER_SECONDS), "git"), env=environment)

    def _git(self, *arguments: str, **options: object) -> str:
        return self._execute(arguments, ("git",), **options).decode("utf-8", "surrogateescape").strip("\n")

    def _git_bytes(self, *arguments: str, **options: object) -> bytes:
        return self._execute(arguments, ("git",), strip_newline_in_stdout=False, **options)

    def _execute(self, arguments: tuple[str, ...], program: tuple[str, ...], **options: object) -> bytes:
        try:
            output = self.git.execute([*program, *OURS, *arguments], stdout_as_string=False, **options)  # type: ignore[call-overload]
        except git.GitCommandError as error:
            reason = str(error.stderr).strip().strip("'")
            raise WorkspaceError(f"git {' '.join(arguments[:2])} failed: {reason}") from error
        assert isinstance(output, bytes)
        return output

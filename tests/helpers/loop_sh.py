"""loop.sh in a repository of its own: started, watched through its log, and checked for what it leaves behind."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from common.state import State
from experiments.ledger.store import Ledger
from preflight.sandbox import process_tree

from .tiny_profile import ROOT, git


def still_running(process: subprocess.Popen, seconds: float) -> bool:
    """Wait for a process; returns True if it has not ended after so many seconds."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


class LoopSh:
    """A repository with loop.sh, the torch-free base/ and a script of ideas."""

    def __init__(self, root: Path) -> None:
        self.root, self.script, self.temporary = root, root.parent / "script", root.parent / "tmp"
        shutil.copy(ROOT / "loop.sh", root)
        (root / ".venv").symlink_to(Path(sys.executable).parent.parent)
        stub = root.parent / "bin" / "make"  # the environment is set up already
        stub.parent.mkdir()
        stub.write_text("#!/bin/sh\n")
        stub.chmod(0o755)
        self.temporary.mkdir()
        self.script.mkdir()

    def write_ideas(self, count: int) -> None:
        for i in range(count):
            edit = {"path": "base/config.py", "search": '"smoothing": 0.5', "replace": f'"smoothing": {2.0 + i}'}
            idea = {"title": f"idea {i}", "hypothesis": "", "class": "schedule", "expected_delta_bpb": 0.0}
            (self.script / f"{i:02d}.json").write_text(json.dumps({**idea, "edits": [edit]}))

    def start(self, *options, screen: int | None = None) -> subprocess.Popen:
        command = ["./loop.sh", "--run", "night", "--profile", "tiny", "--proposer", "scripted"]
        return self.type(*command, "--script", str(self.script), "--trials", "99", *options, screen=screen)

    def type(self, *command: str, screen: int | None = None) -> subprocess.Popen:
        """Start a command in the repository."""
        environment = {**os.environ, "PATH": f"{self.root.parent / 'bin'}:{os.environ['PATH']}"}
        with (self.root.parent / "screen.txt").open("a") as file:
            return subprocess.Popen(
                command,
                cwd=self.root,
                stdout=file if screen is None else screen,
                stderr=subprocess.STDOUT,
                env={**environment, "TMPDIR": str(self.temporary)},
                start_new_session=True,
            )

    def screen(self) -> str:
        return (self.root.parent / "screen.txt").read_text()

    def printed_command(self) -> list[str]:
        """Return the command that the last stop named to go on."""
        return shlex.split(re.findall(r"stopped: .*; (\./loop\.sh .*) goes on with it", self.screen())[-1])

    def ledger(self) -> Ledger:
        return Ledger(self.root / "trials" / "night" / "ledger.sqlite")

    def rows(self):
        with contextlib.closing(self.ledger()) as ledger:
            return ledger.rows()

    def settled(self) -> int:
        """Count the trials that have ended so far; 0 before there is a ledger."""
        exists = (self.root / "trials" / "night" / "ledger.sqlite").exists()
        return sum(row.state.finished for row in self.rows()) if exists else 0

    def wait_for_log(self, process: subprocess.Popen, words: str) -> None:
        """Wait for a line of the log; fails if loop.sh ends first."""
        log = self.root / "trials" / "night" / "loop.log"
        while process.poll() is None:
            if log.exists() and re.search(words, log.read_text()):
                return
            still_running(process, 0.02)
        raise AssertionError(f"loop.sh ended with {process.returncode}: {self.screen()}")

    def processes(self, words: str) -> list[int]:
        """Return the living processes of this repository whose command line contains `words`."""
        pids = []
        for pid in process_tree.descendants(0):
            with contextlib.suppress(OSError):  # it has just exited
                environment = Path(f"/proc/{pid}/environ").read_bytes()
                if f"TMPDIR={self.temporary}".encode() in environment or self._holds_files(pid):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    pids += [pid] if words in line else []
        return pids

    def _holds_files(self, pid: int) -> bool:
        """Return True if a process has files of this run open: supervisors and candidates have another environment."""
        with contextlib.suppress(OSError):
            links = [*Path(f"/proc/{pid}/fd").iterdir(), Path(f"/proc/{pid}/cwd")]
            return any(link.readlink().is_relative_to(self.root / "trials") for link in links)
        return False

    def check_nothing_is_left(self) -> None:
        """Check that no process, lock or temporary folder is left, nor a ref of a trial that did not count."""
        assert self.processes("") == []
        assert list(self.temporary.iterdir()) == []
        assert not list((self.root / ".git").rglob("*.lock"))
        run = self.root / "trials" / "night"
        assert not (run / "scratch").exists() or not list((run / "scratch").iterdir())
        assert not [path for path in run.rglob("*") if path.name in ("out", "view", "supervisor.lock", "smoke")]
        rows = self.rows()
        assert all(row.state.finished for row in rows)
        assert [row.number for row in rows] == list(range(len(rows)))
        branches = git(self.root, "for-each-ref", "--format=%(refname:lstrip=4)", "refs/heads/experiments/night")
        tried = [row for row in rows if row.state.counts_as_attempt and row.state is not State.BASELINE]
        assert set(branches.split()) == {f"{row.number:04d}" for row in tried if row.state is State.KEPT} | {"best"}
        commits = git(self.root, "for-each-ref", "--format=%(refname:lstrip=4)", "refs/caddie/night/trials")
        assert set(commits.split()) == {f"{row.number:04d}" for row in tried}

    def check_every_idea_once(self, count: int) -> None:
        """Check that each idea has one result, or none if it was lost twice to infrastructure failures."""
        rows = [row for row in self.rows() if row.title.startswith("idea")]
        results = Counter(row.title for row in rows if row.state.counts_as_attempt)
        lost = Counter(row.title for row in rows if row.state is State.INFRA)
        assert len(results.keys() | {title for title in lost if lost[title] == 2}) == count
        for title in results.keys() | lost.keys():
            assert (results[title], lost[title]) in {(1, 0), (1, 1), (0, 2)}, (results, lost)

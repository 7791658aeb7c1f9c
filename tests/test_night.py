"""loop.sh as a person uses it: killed, interrupted, stopped, started again; real processes on real repositories."""

import contextlib
import json
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support import ROOT, git

from data.errors import CaddieError
from data.state import State
from experiments.ledger import Ledger
from experiments.loop import open_bench
from experiments.session import STARTS, Session
from preflight.sandbox import process_tree

pytestmark = [pytest.mark.trial, pytest.mark.torch]
KILLS = 20


def passed(process: subprocess.Popen, seconds: float) -> bool:
    """Wait for a process; whether the seconds passed first."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


class Night:
    """A repository with loop.sh, the torch-free base/ and a script of ideas."""

    def __init__(self, root: Path) -> None:
        self.root, self.script, self.temporary = root, root.parent / "script", root.parent / "tmp"
        shutil.copy(ROOT / "loop.sh", root)
        (root / ".venv").symlink_to(Path(sys.executable).parent.parent)
        stub = root.parent / "bin" / "make"  # the environment is set up
        stub.parent.mkdir()
        stub.write_text("#!/bin/sh\n")
        stub.chmod(0o755)
        self.temporary.mkdir()
        self.script.mkdir()

    def write_ideas(self, count: int) -> None:
        for i in range(count):
            edit = {"path": "base/config.py", "search": '"smoothing": 0.5', "replace": f'"smoothing": {2.0 + i}'}
            made = {"title": f"idea {i}", "hypothesis": "", "class": "schedule", "expected_delta_bpb": 0.0}
            (self.script / f"{i:02d}.json").write_text(json.dumps({**made, "edits": [edit]}))

    def start(self, *options, screen: int | None = None) -> subprocess.Popen:
        command = [str(self.root / "loop.sh"), "--run", "night", "--profile", "tiny", "--proposer", "scripted"]
        environment = {**os.environ, "PATH": f"{self.root.parent / 'bin'}:{os.environ['PATH']}"}
        with (self.root.parent / "screen.txt").open("a") as file:
            return subprocess.Popen(
                [*command, "--script", str(self.script), "--trials", "99", *options],
                stdout=file if screen is None else screen,
                stderr=subprocess.STDOUT,
                env={**environment, "TMPDIR": str(self.temporary)},
                start_new_session=True,
            )

    def screen(self) -> str:
        return (self.root.parent / "screen.txt").read_text()

    def ledger(self) -> Ledger:
        return Ledger(self.root / "trials" / "night" / "ledger.sqlite")

    def rows(self):
        ledger = self.ledger()
        try:
            return ledger.rows()
        finally:
            ledger.close()

    def settled(self) -> int:
        """Trials that have ended so far; 0 before there is a ledger."""
        there = (self.root / "trials" / "night" / "ledger.sqlite").exists()
        return sum(row.state.finished for row in self.rows()) if there else 0

    def until(self, process: subprocess.Popen, words: str) -> None:
        """Wait for a line of the log; fails if loop.sh ends first."""
        log = self.root / "trials" / "night" / "loop.log"
        while process.poll() is None:
            if log.exists() and re.search(words, log.read_text()):
                return
            passed(process, 0.02)
        raise AssertionError(f"loop.sh ended with {process.returncode}: {self.screen()}")

    def processes(self, words: str) -> list[int]:
        """Living processes of this night by their command line."""
        found = []
        for pid in process_tree.descendants(0):
            with contextlib.suppress(OSError):  # it has just gone
                environment = Path(f"/proc/{pid}/environ").read_bytes()
                if f"TMPDIR={self.temporary}".encode() in environment or self._holds_files(pid):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found += [pid] if words in line else []
        return found

    def _holds_files(self, pid: int) -> bool:
        """Supervisors and candidates have an environment of their own, and files of this night open."""
        with contextlib.suppress(OSError):
            places = [*Path(f"/proc/{pid}/fd").iterdir(), Path(f"/proc/{pid}/cwd")]
            return any(place.readlink().is_relative_to(self.root / "trials") for place in places)
        return False

    def check_nothing_is_left(self) -> None:
        """No process, lock, temporary folder or ref of what did not count."""
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
        counted = {f"{row.number:04d}" for row in rows if row.state.counts and row.state is not State.BASELINE}
        assert set(branches.split()) == counted | {"best"}

    def check_every_idea_once(self, count: int) -> None:
        """One result for each idea; or none, for an idea that was twice lost with the machine."""
        rows = [row for row in self.rows() if row.title.startswith("idea")]
        results = Counter(row.title for row in rows if row.state.counts)
        lost = Counter(row.title for row in rows if row.state is State.INFRA)
        assert len(results.keys() | {title for title in lost if lost[title] == 2}) == count
        for title in results.keys() | lost.keys():
            assert (results[title], lost[title]) in {(1, 0), (1, 1), (0, 2)}, (results, lost)


@pytest.fixture
def night(repo):
    night = Night(repo)
    yield night
    for pid in night.processes(""):  # of a test that failed
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_the_controller_is_started_again_and_goes_on(night):
    night.write_ideas(3)
    process = night.start()
    night.until(process, "trial 0002  measure")
    (controller,) = night.processes("experiments run")
    os.kill(controller, signal.SIGKILL)
    assert process.wait() == 0
    assert "it is started again" in night.screen()
    assert [row.state for row in night.rows()].count(State.INFRA) == 1
    night.check_every_idea_once(3)
    night.check_nothing_is_left()


def test_a_killed_trial_is_tried_again(night):
    night.write_ideas(2)
    process = night.start()
    night.until(process, "trial 0001  measure")
    while not (supervisors := night.processes("preflight.sandbox.supervisor")):
        assert passed(process, 0.02)
    os.kill(supervisors[0], signal.SIGKILL)
    assert process.wait() == 0
    night.check_every_idea_once(2)
    night.check_nothing_is_left()


def test_control_c_books_the_running_trial_and_stops(night):
    night.write_ideas(2)
    process = night.start()
    night.until(process, "trial 0001  measure")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to loop.sh and everything in its group
    assert process.wait() == 130
    assert [(row.title, row.state) for row in night.rows()][1:] == [("idea 0", State.STOPPED)]
    assert "goes on" in night.screen()
    night.check_nothing_is_left()
    assert night.start().wait() == 0  # the same --run goes on, and the stopped idea is tried
    night.check_every_idea_once(2)


@pytest.mark.parametrize("words", ["loop.sh", "experiments run"])
def test_kill_is_control_c(night, words):
    """SIGTERM to loop.sh, or to the controller alone."""
    night.write_ideas(2)
    process = night.start()
    night.until(process, "trial 0001  measure")
    os.kill(process.pid if words == "loop.sh" else night.processes(words)[0], signal.SIGTERM)
    assert process.wait() == 130
    assert [row.state for row in night.rows()][1:] == [State.STOPPED]
    night.check_nothing_is_left()


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_a_night_outlives_its_screen(night, kind):
    """The reader of a pipe ends, or a terminal hangs up; then the controller is killed, and is started again."""
    night.write_ideas(3)
    reader, writer = os.pipe() if kind == "pipe" else pty.openpty()
    process = night.start(screen=writer)
    os.close(writer)
    night.until(process, "trial 0001  measure")
    os.close(reader)
    os.killpg(process.pid, signal.SIGHUP)
    night.until(process, "trial 0002  measure")
    os.kill(night.processes("experiments run")[0], signal.SIGKILL)
    assert process.wait() == 0
    night.check_every_idea_once(3)
    assert "the screen is gone" in (night.root / "trials" / "night" / "loop.log").read_text()


def test_the_stop_file_ends_the_loop_after_the_trial(night):
    night.write_ideas(3)
    process = night.start()
    night.until(process, "trial 0001  measure")
    (night.root / "STOP").touch()
    assert process.wait() == 0
    assert len(night.rows()) == 2
    assert "the file STOP asked run night to, and has been removed" in night.screen()


def test_trials_count_over_restarts_and_the_log_keeps_the_story(night):
    night.write_ideas(5)
    process = night.start("--trials", "3")
    night.until(process, "trial 0002  measure")
    os.kill(night.processes("experiments run")[0], signal.SIGKILL)
    assert process.wait() == 0
    assert sum(row.state.counts for row in night.rows()) == 4  # the baseline and three
    log = (night.root / "trials" / "night" / "loop.log").read_text()
    for words in (
        "run night: profile tiny",
        "waiting 1 s",
        "infra  idea 1",
        "stopped: 3 trials are settled",
        "honesty",
    ):
        assert words in log, words


def test_a_person_is_asked_where_a_restart_cannot_help(night):
    night.write_ideas(1)
    held = night.start()
    night.until(held, "trial 0000")
    assert night.start().wait() == 2
    assert "run night is being worked on by pid " in night.screen()
    assert held.wait() == 0
    assert night.start("--proposer", "oracle").wait() == 2
    assert "one of auto" in night.screen()


def test_another_look_at_a_run_is_not_an_order(bench):
    """`ablate` and its like open the bench between two starts of the loop; trials and hours go on counting."""
    began = Session.begin(bench.ledger, "evening")
    root = bench.workspace.root
    bench.close()
    opened = open_bench(root, "night", "tiny", lambda *_: None)
    assert (again := Session.begin(opened.ledger, "evening")).first == began.first
    assert again.starts == began.starts + 1
    opened.close()


def test_sessions_pause_longer_and_longer_and_give_up(bench):
    pauses = [Session.begin(bench.ledger, "evening").pause_seconds for _ in range(STARTS)]
    with pytest.raises(CaddieError, match="settled no trial"):
        Session.begin(bench.ledger, "evening")
    assert pauses[:6] == [0, 1, 2, 4, 8, 16]
    assert pauses[-1] == 300
    assert Session.begin(bench.ledger, "the next evening").pause_seconds == 0


@pytest.mark.slow
def test_twenty_kills_of_the_controller_and_twenty_of_a_trial(night):
    night.write_ideas(99)
    rng = random.Random(2026)
    process = night.start()
    kills, vain, settled = Counter(), 0, 0
    while (kills["controller"] < KILLS or kills["trial"] < KILLS) and passed(process, rng.uniform(0.1, 10.0)):
        if (now := night.settled()) > settled:
            vain, settled = 0, now
        if vain >= KILLS // 4:  # loop.sh rightly gives up when twenty starts in a row bring nothing
            continue
        kind = rng.choice([kind for kind in ("controller", "trial") if kills[kind] < KILLS])
        if kind == "controller":
            victims = night.processes("experiments run")
        else:
            victims = night.processes("preflight.sandbox.supervisor") + night.processes("train_gpt.py")
        with contextlib.suppress(ProcessLookupError, IndexError):  # none is there, or it has just gone
            os.kill(rng.choice(victims), signal.SIGKILL)
            kills[kind] += 1
            vain += 1
    assert kills == {"controller": KILLS, "trial": KILLS}, kills
    (night.root / "STOP").touch()
    assert process.wait() == 0, night.screen()[-3000:]
    assert not (night.root / "STOP").exists()
    assert night.start("--trials", "1").wait() == 0  # mends what the last kill left
    print(Counter(row.state.value for row in night.rows()))
    night.check_every_idea_once(len({row.title for row in night.rows()} - {"the baseline"}))
    night.check_nothing_is_left()

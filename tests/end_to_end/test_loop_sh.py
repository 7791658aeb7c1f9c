"""loop.sh as a user runs it: killed, interrupted, stopped, started again; real processes on real repositories."""

import contextlib
import json
import os
import pty
import random
import signal
from collections import Counter

import pytest
from helpers.loop_sh import LoopSh, still_running

from common.state import State

pytestmark = [pytest.mark.trial, pytest.mark.torch]
KILLS = 20


@pytest.fixture
def loop(repo):
    loop = LoopSh(repo)
    yield loop
    for pid in loop.processes(""):  # left by a test that failed
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_the_controller_is_started_again_and_continues(loop):
    loop.write_ideas(3)
    process = loop.start()
    loop.wait_for_log(process, "trial 0002  measure")
    (controller,) = loop.processes("experiments run")
    os.kill(controller, signal.SIGKILL)
    assert process.wait() == 0
    assert "it is started again" in loop.screen()
    assert [row.state for row in loop.rows()].count(State.INFRA) == 1
    loop.check_every_idea_once(3)
    loop.check_nothing_is_left()


@pytest.mark.slow
def test_a_killed_trial_is_tried_again(loop):
    loop.write_ideas(2)
    process = loop.start()
    loop.wait_for_log(process, "trial 0001  measure")
    while not (supervisors := loop.processes("preflight.sandbox.supervisor")):
        assert still_running(process, 0.02)
    os.kill(supervisors[0], signal.SIGKILL)
    assert process.wait() == 0
    loop.check_every_idea_once(2)
    loop.check_nothing_is_left()


def test_control_c_records_the_running_trial_and_stops(loop):
    loop.write_ideas(2)
    process = loop.start()
    loop.wait_for_log(process, "trial 0001  weights")  # an idea of evaluation alone
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to loop.sh and everything in its group
    assert process.wait() == 130
    assert [(row.title, row.state) for row in loop.rows()][1:] == [("idea 0", State.STOPPED)]
    loop.check_nothing_is_left()
    assert loop.type(*loop.printed_command()).wait() == 0  # the same --run continues, and the stopped idea is tried
    loop.check_every_idea_once(2)


@pytest.mark.slow
def test_a_night_interrupted_at_each_stage_goes_on_as_the_same_night(loop):
    """What Ctrl-C prints is typed each time: it has the same proposer, the same ideas and the trials that are left."""
    loop.write_ideas(4)
    better = {"path": "base/config.py", "search": '"iterations": 4', "replace": '"iterations": 12'}
    idea = json.loads((loop.script / "00.json").read_text())
    (loop.script / "00.json").write_text(json.dumps({**idea, "edits": [better]}))
    process = loop.start("--trials", "3", "--hours", "1")
    # Row 0 is the interrupted baseline, row 1 the next one, rows 2 to 4 the first idea.
    for words in ("trial 0000  measure", "trial 0002  preflight", "trial 0003  measure", "trial 0004  confirm"):
        loop.wait_for_log(process, words)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait() == 130
        assert "3 of 3 trials and 1.0 of 1 hours are left" in loop.screen()
        process = loop.type(*loop.printed_command())
    assert process.wait() == 0
    assert "stopped: 3 trials are settled" in loop.screen()
    counted = [row for row in loop.rows() if row.state.counts_as_trial]
    assert [row.title for row in counted] == ["idea 0", "idea 1", "idea 2"]
    assert counted[0].state is State.KEPT
    loop.check_nothing_is_left()


@pytest.mark.slow
@pytest.mark.parametrize("words", ["loop.sh", "experiments run"])
def test_kill_is_control_c(loop, words):
    """SIGTERM to loop.sh, or to the controller alone."""
    loop.write_ideas(2)
    process = loop.start()
    loop.wait_for_log(process, "trial 0001  measure")
    os.kill(process.pid if words == "loop.sh" else loop.processes(words)[0], signal.SIGTERM)
    assert process.wait() == 130
    assert [row.state for row in loop.rows()][1:] == [State.STOPPED]
    loop.check_nothing_is_left()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_a_run_outlives_its_terminal(loop, kind):
    """The reader of a pipe ends, or a terminal hangs up; then the controller is killed, and is started again."""
    loop.write_ideas(3)
    reader, writer = os.pipe() if kind == "pipe" else pty.openpty()
    process = loop.start(screen=writer)
    os.close(writer)
    loop.wait_for_log(process, "trial 0001  measure")
    os.close(reader)
    os.killpg(process.pid, signal.SIGHUP)
    loop.wait_for_log(process, "trial 0002  measure")
    os.kill(loop.processes("experiments run")[0], signal.SIGKILL)
    assert process.wait() == 0
    loop.check_every_idea_once(3)
    assert "the terminal was closed" in (loop.root / "trials" / "night" / "loop.log").read_text()


@pytest.mark.slow
def test_the_stop_file_ends_the_loop_after_the_trial(loop):
    loop.write_ideas(3)
    process = loop.start()
    loop.wait_for_log(process, "trial 0001  measure")
    (loop.root / "STOP").touch()
    assert process.wait() == 0
    assert len(loop.rows()) == 2
    assert "the file STOP asked run night to, and has been removed" in loop.screen()


@pytest.mark.slow
def test_trials_count_over_restarts_and_the_log_has_the_whole_run(loop):
    loop.write_ideas(5)
    process = loop.start("--trials", "3")
    loop.wait_for_log(process, "trial 0002  measure")
    os.kill(loop.processes("experiments run")[0], signal.SIGKILL)
    assert process.wait() == 0
    assert sum(row.state.counts_as_attempt for row in loop.rows()) == 4  # the baseline and three
    log = (loop.root / "trials" / "night" / "loop.log").read_text()
    for words in (
        "run night: profile tiny",
        "waiting 1 s",
        "infra  idea 1",
        "stopped: 3 trials are settled",
        "paired",
    ):
        assert words in log, words


@pytest.mark.slow
def test_loop_sh_stops_for_the_user_if_a_restart_cannot_help(loop):
    loop.write_ideas(1)
    holder = loop.start()
    loop.wait_for_log(holder, "trial 0000")
    assert loop.start().wait() == 2
    assert "run night is in use by pid " in loop.screen()
    assert holder.wait() == 0
    assert loop.start("--proposer", "oracle").wait() == 2
    assert "one of auto" in loop.screen()


@pytest.mark.slow
def test_twenty_kills_of_the_controller_and_twenty_of_a_trial(loop):
    loop.write_ideas(99)
    rng = random.Random(2026)
    process = loop.start()
    kills, without_progress, settled = Counter(), 0, 0
    while (kills["controller"] < KILLS or kills["trial"] < KILLS) and still_running(process, rng.uniform(0.1, 10.0)):
        if (now := loop.settled()) > settled:
            without_progress, settled = 0, now
        if without_progress >= KILLS // 4:  # loop.sh rightly gives up after twenty starts in a row without progress
            continue
        kind = rng.choice([kind for kind in ("controller", "trial") if kills[kind] < KILLS])
        if kind == "controller":
            victims = loop.processes("experiments run")
        else:
            victims = loop.processes("preflight.sandbox.supervisor") + loop.processes("train_gpt.py")
        with contextlib.suppress(ProcessLookupError, IndexError):  # there is none, or it has just exited
            os.kill(rng.choice(victims), signal.SIGKILL)
            kills[kind] += 1
            without_progress += 1
    assert kills == {"controller": KILLS, "trial": KILLS}, kills
    (loop.root / "STOP").touch()
    assert process.wait() == 0, loop.screen()[-3000:]
    assert not (loop.root / "STOP").exists()
    assert loop.start("--trials", "1").wait() == 0  # repairs what the last kill left behind
    print(Counter(row.state.value for row in loop.rows()))
    loop.check_every_idea_once(len({row.title for row in loop.rows()} - {"the baseline"}))
    loop.check_nothing_is_left()

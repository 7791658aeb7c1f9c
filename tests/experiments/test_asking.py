"""The loop and an LLM: asking ahead, a kill during a call, the key, whole nights against the local Messages API."""

import contextlib
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path

import pytest
from messages_api import KEY, Reply, answered, error
from support import ROOT

from data.errors import NeedsPerson
from data.state import State
from experiments import api_check, key, outlook, spending
from experiments.asking import Asker
from experiments.calls import Calls, Outcome
from experiments.ledger import Ledger
from experiments.loop import open_bench, run, stopped
from experiments.tiers import PROFILES
from proposers.anthropic_api import MODEL

CONFIG = "base/config.py"
BETTER = answered(CONFIG, '"iterations": 4', '"iterations": 40', title="more text")
OTHER = answered(CONFIG, '"smoothing": 0.5', '"smoothing": 400.0', title="smoother")
THIRD = answered(CONFIG, '"passes": 1', '"passes": 2', title="twice")


def controller(root: Path, *arguments, **options):
    """`python -m experiments run` as a process, and what is needed to wait for it."""
    command = [sys.executable, "-m", "experiments", "run", "--root", str(root), "--run", "night", "--profile", "tiny"]
    command += ["--proposer", "anthropic", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def calls(root: Path):
    ledger = Ledger(root / "trials" / "night" / "ledger.sqlite")
    try:
        return Calls(ledger).rows(), ledger.rows()
    finally:
        ledger.close()


@pytest.mark.trial
def test_the_next_proposal_is_asked_for_while_a_trial_runs(bench, api, model):
    model.answers = [BETTER, OTHER, THIRD]
    said = []
    reason = run(bench, "anthropic", 3, 1.0, lambda _: None, say=said.append)
    assert reason == "3 trials are settled", said
    rows = bench.ledger.rows()
    assert [row.title for row in rows[1:]] == ["more text", "smoother", "twice"]
    assert rows[1].state is State.KEPT
    questions = [request["messages"][0]["content"] for request in api.requests]
    assert len(questions) == 3  # what was asked against the old incumbent is not asked again
    under_way = questions[1].partition("## Under way")[2].partition("##")[0]
    assert 'trial 1, architecture: "more text"' in under_way
    assert rows[2].parent == rows[1].commit_id  # and is written against the new one
    assert [call.trial for call in Calls(bench.ledger).rows()] == [1, 2, 3]
    assert bench.ledger.stages(2)["propose"] < 60


@pytest.mark.trial
def test_kill_9_during_a_call_settles_the_reservation_and_proposes_nothing_twice(measured_repo, tmp_path, api, model):
    root = shutil.copytree(measured_repo, tmp_path / "repo", symlinks=True)
    held, numbers = threading.Event(), count(1)

    def idea(request):
        number = next(numbers)
        text = answered(CONFIG, '"smoothing": 0.5', f'"smoothing": {400.0 + number}', title=f"idea {number}")
        return Reply(text, hold=held if number == 2 else None)

    model.answers = [idea]
    first = controller(root, "--trials", "5")
    assert api.asked.acquire(timeout=120)
    assert api.asked.acquire(timeout=120)  # the second question is out while the first one's trial runs
    under_way, _ = calls(root)
    assert [call.state for call in under_way] == [Outcome.DONE, Outcome.RESERVED]
    first.kill()
    first.wait()
    first.stdout.close()
    held.set()
    second = controller(root, "--trials", "3")
    said, _ = second.communicate(timeout=240)
    assert second.returncode == 0, said
    made, rows = calls(root)
    lost = [call for call in made if call.state is not Outcome.DONE]
    assert [(call.number, call.state) for call in lost] == [(under_way[1].number, Outcome.LOST)]
    assert lost[0].dollars == lost[0].reserved_dollars > 0
    told = [row for row in rows if row.state.counts and row.state is not State.BASELINE]
    assert len({row.title for row in told}) == len({row.fingerprint for row in told}) == len(told) >= 3
    assert "idea 1" in {row.title for row in told}  # what the kill interrupted was tried again, and not asked again
    assert len(made) == len(told) + 1
    assert f"model calls: {len(made)} for" in said


@pytest.mark.trial
def test_no_process_beside_a_trial_has_the_key_in_its_environment(measured_repo, tmp_path, api, model):
    root = shutil.copytree(measured_repo, tmp_path / "repo", symlinks=True)
    held = threading.Event()
    model.answers = [OTHER, Reply(THIRD, hold=held)]
    loop = controller(root, "--trials", "2")
    assert api.asked.acquire(timeout=120)
    told = {}
    while not api.asked.acquire(timeout=0.02):  # until the second question, the first one's trial works
        for pid in [loop.pid, *descendants(loop.pid)]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                told[pid] = Path(f"/proc/{pid}/environ").read_bytes()
    assert len(told) > 2  # the controller, who asks, and the trial's own
    assert not [pid for pid, environment in told.items() if KEY.encode() in environment]
    assert api.requests  # and yet it was asked with the key
    held.set()
    said, _ = loop.communicate(timeout=120)
    assert loop.returncode == 0, said
    assert KEY not in said
    assert KEY.encode() not in b"".join(path.read_bytes() for path in (root / "trials").rglob("*") if path.is_file())


def descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


@pytest.mark.parametrize(("held", "way"), [("", "export ANTHROPIC_API_KEY=…"), ("sk-wrong", "the key is not accepted")])
def test_without_a_key_or_with_a_wrong_one_there_is_one_line_and_a_way_on(measured_repo, tmp_path, api, held, way):
    root = shutil.copytree(measured_repo, tmp_path / "repo", symlinks=True)
    loop = controller(root, env={**os.environ, "ANTHROPIC_API_KEY": held})
    said, _ = loop.communicate(timeout=120)
    assert loop.returncode == 2, said  # loop.sh does not start it again
    line = said.strip().splitlines()[-1]
    assert way in line
    assert len(calls(root)[1]) == 1  # no trial was made


def test_doctor_asks_whether_the_key_and_the_model_are_good(api, monkeypatch):
    assert api_check.problem(KEY, "") == ""
    assert api_check.problem(KEY, MODEL) == ""
    assert "not set" in api_check.problem("", MODEL)
    assert "401, the key is not accepted" in api_check.problem("sk-wrong", MODEL)
    assert "404, no model claude-none" in api_check.problem(KEY, "claude-none")
    assert not api.requests  # nothing that costs
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    assert "127.0.0.1:9" in api_check.problem(KEY, MODEL)


def test_a_person_is_told_and_nothing_is_tried_again(bench, api, model):
    model.answers = [error(402, "no credit left")]
    with pytest.raises(NeedsPerson, match="add credit"):
        Asker(bench, "anthropic").next()


def test_a_pause_shows_while_it_lasts(bench, api, model, tmp_path):
    """The process's notes reach whoever watches, and only its last line is the reason."""
    said = []
    asker = Asker(bench, "anthropic", say=said.append)
    asker.command = ["sh", "-c", "echo 'note: rate limited; waiting 15 s' >&2; echo why >&2; exit 3"]
    with pytest.raises(Exception, match="generate_next.py: why"):
        asker.propose()
    assert said == ["rate limited; waiting 15 s"]


def test_the_key_moves_behind_a_descriptor():
    code = (
        "import os, sys; from experiments import key\n"
        "held = key.descriptors()\n"
        "print(key.read(), 'ANTHROPIC_API_KEY' in os.environ, len(held), os.get_inheritable(held[0]))\n"
        "print(key.read())"  # as often as one likes: controllers restart
    )
    command = [sys.executable, str(ROOT / "experiments" / "key.py"), sys.executable, "-c", code]
    environment = {**os.environ, "ANTHROPIC_API_KEY": KEY}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{KEY} False 1 False", KEY]
    plain = subprocess.run(
        [sys.executable, str(ROOT / "experiments" / "key.py"), "echo", "on"], capture_output=True, text=True, check=True
    )
    assert plain.stdout == "on\n"


def test_a_descriptor_that_is_none_is_no_key(monkeypatch):
    for told in ("", "x", "999"):
        monkeypatch.setenv(key.DESCRIPTOR, told)
        assert key.read() == ""
    monkeypatch.setenv(key.VARIABLE, KEY)
    assert key.read() == KEY


def test_loop_sh_hides_the_key_before_anything_runs_beside_a_trial():
    text = (ROOT / "loop.sh").read_text()
    hiding = text.index("experiments/key.py ./loop.sh")
    assert text.index("make --silent setup") < hiding < text.index("-m experiments doctor")
    assert not re.search(r"ANTHROPIC_API_KEY", text[hiding:])


def test_a_budget_ends_a_run_cleanly(bench, api, model):
    model.answers = [OTHER]
    reason = run(bench, "anthropic", 3, 1.0, lambda _: None, ("--budget-usd", "0.01"), budget_usd=0.01)
    assert "budget of $0.01 is used up" in reason
    assert not api.requests


def test_the_machine_counts_too_and_is_reserved_while_it_works(bench):
    """A trial under way costs at least what one takes on average, so that nothing else spends that money."""
    profile = dataclasses.replace(PROFILES["tiny"], dollars_per_hour=60.0)
    settled = spending.machine_dollars(bench.ledger, profile)
    assert settled == pytest.approx(sum(outlook.main_stages(bench.ledger, 0).values()) / 60)
    bench.intent("an idea", "architecture", bench.workspace.best(), hypothesis="", proposal="{}")
    assert spending.machine_dollars(bench.ledger, profile) == pytest.approx(settled + profile.longest_trial_minutes)
    assert spending.over_budget(bench.ledger, profile, None, 1e9) == ""
    spent = settled + profile.longest_trial_minutes
    assert spending.over_budget(bench.ledger, profile, spent + 1.001, 1.0) == ""
    assert "a higher --budget-usd goes on" in spending.over_budget(bench.ledger, profile, spent + 0.999, 1.0)


def test_a_baseline_that_a_budget_does_not_hold_is_not_begun(repo, monkeypatch):
    monkeypatch.setitem(PROFILES, "tiny", dataclasses.replace(PROFILES["tiny"], dollars_per_hour=1000.0))
    opened = open_bench(repo, "night", "tiny", lambda *_: None)
    assert "is used up: $0.00 are spent" in run(opened, "anthropic", 3, 1.0, lambda _: None, budget_usd=1.0)
    assert not opened.ledger.rows()
    opened.close()


def test_calls_are_shown_as_tables(bench, api, model):
    model.answers = [answered(CONFIG, "nowhere", "x"), OTHER]
    Asker(bench, "anthropic").next()
    command = [sys.executable, "-m", "experiments", "calls", "--root", str(bench.workspace.root), "--run", "night"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(r"propose\s+done\s+1 ", shown)
    assert re.search(r"repair\s+done\s+1 ", shown)
    assert "the first call" in shown
    assert "2 calls for 1 proposals of claude-opus-5-5" in shown


@pytest.mark.parametrize("flag", ["--dry-run", "--explain"])
@pytest.mark.parametrize("proposer", ["anthropic", "mix"])
def test_a_person_can_see_what_would_be_asked(bench, flag, proposer):
    command = [sys.executable, "generate_next.py", "--root", str(bench.workspace.root), "--run", "night"]
    done = subprocess.run([*command, "--proposer", proposer, flag], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "class    architecture" in done.stdout
    assert re.search(r"price    \$0\.\d+ with an empty cache, \$0\.\d+ with the prefix", done.stdout)
    assert "# What was tried" in done.stdout
    assert ("# The question" in done.stdout) == (flag == "--dry-run")
    with contextlib.closing(Ledger(bench.folder / "ledger.sqlite")) as ledger:
        assert not Calls(ledger).rows()


def test_a_stopped_run_books_what_was_under_way(bench, api, model):
    held = threading.Event()
    model.answers = [Reply(OTHER, hold=held)]
    asker = Asker(bench, "anthropic")
    asker.ahead()
    assert api.asked.acquire(timeout=120)
    asker.stop()
    held.set()
    assert isinstance(asker.answer, Exception)
    stopped(bench)
    (call,) = Calls(bench.ledger).rows()
    assert (call.state, call.dollars) == (Outcome.LOST, call.reserved_dollars)

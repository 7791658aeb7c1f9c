"""The API key: no process that runs next to a trial has it in its environment, and a bad one is reported."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.proposers.llm_runs import SMOOTHER, TWICE, calls_and_rows, start_loop
from helpers.servers.messages import KEY, Reply
from helpers.tiny_profile import ROOT

from experiments import credentials
from experiments.doctor import messages_api
from proposers.llm.anthropic import MODEL

PROGRAM = ROOT / "experiments" / "credentials.py"


@pytest.mark.slow
@pytest.mark.trial
def test_no_process_next_to_a_trial_has_the_key_in_its_environment(measured_repo, tmp_path, api, model):
    root = shutil.copytree(measured_repo, tmp_path / "repo", symlinks=True)
    held = threading.Event()
    model.answers = [SMOOTHER, Reply(TWICE, hold=held)]
    loop = start_loop(root, "--trials", "2")
    assert api.asked.acquire(timeout=120)
    environments = {}
    while not api.asked.acquire(timeout=0.02):  # until the second question, the first one's trial works
        for pid in [loop.pid, *descendants(loop.pid)]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has exited in the meantime
                environments[pid] = Path(f"/proc/{pid}/environ").read_bytes()
    assert len(environments) > 2  # the controller, the proposer, and the trial's own
    assert not [pid for pid, environment in environments.items() if KEY.encode() in environment]
    assert api.requests  # and yet the requests had the key
    held.set()
    output, _ = loop.communicate(timeout=120)
    assert loop.returncode == 0, output
    assert KEY not in output
    assert KEY.encode() not in b"".join(path.read_bytes() for path in (root / "trials").rglob("*") if path.is_file())


def descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has exited in the meantime
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


@pytest.mark.parametrize(("key", "fix"), [("", "export ANTHROPIC_API_KEY=…"), ("sk-wrong", "the key is not accepted")])
def test_a_missing_or_wrong_key_is_one_line_with_a_fix(measured_repo, tmp_path, api, key, fix):
    root = shutil.copytree(measured_repo, tmp_path / "repo", symlinks=True)
    loop = start_loop(root, env={**os.environ, "ANTHROPIC_API_KEY": key})
    output, _ = loop.communicate(timeout=120)
    assert loop.returncode == 2, output  # loop.sh does not start it again
    line = output.strip().splitlines()[-1]
    assert fix in line
    assert len(calls_and_rows(root)[1]) == 1  # no trial was started


def test_doctor_checks_the_key_and_the_model(api, monkeypatch):
    assert messages_api.problem(KEY, "") == ""
    assert messages_api.problem(KEY, MODEL) == ""
    assert "not set" in messages_api.problem("", MODEL)
    assert "401, the key is not accepted" in messages_api.problem("sk-wrong", MODEL)
    assert "404, no model claude-none" in messages_api.problem(KEY, "claude-none")
    assert not api.requests  # nothing that costs
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    assert "127.0.0.1:9" in messages_api.problem(KEY, MODEL)


def test_the_key_moves_behind_a_descriptor():
    code = (
        "import os, sys; from experiments import credentials\n"
        "held = credentials.descriptors()\n"
        "print(credentials.read(), 'ANTHROPIC_API_KEY' in os.environ, len(held), os.get_inheritable(held[0]))\n"
        "print(credentials.read())"  # as often as needed: controllers restart
    )
    command = [sys.executable, str(PROGRAM), sys.executable, "-c", code]
    environment = {**os.environ, "ANTHROPIC_API_KEY": KEY}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{KEY} False 1 False", KEY]
    without_key = subprocess.run(
        [sys.executable, str(PROGRAM), "echo", "on"], capture_output=True, text=True, check=True
    )
    assert without_key.stdout == "on\n"


def test_an_invalid_descriptor_is_no_key(monkeypatch):
    for value in ("", "x", "999"):
        monkeypatch.setenv(credentials.DESCRIPTOR, value)
        assert credentials.read() == ""
    monkeypatch.setenv(credentials.VARIABLE, KEY)
    assert credentials.read() == KEY


def test_loop_sh_hides_the_key_before_anything_runs_next_to_a_trial():
    text = (ROOT / "loop.sh").read_text()
    hiding = text.index("experiments/credentials.py ./loop.sh")
    assert text.index("make --silent setup") < hiding < text.index("-m experiments doctor")
    assert not re.search(r"ANTHROPIC_API_KEY", text[hiding:])

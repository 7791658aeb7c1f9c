"""Calls of an LLM in the ledger: settled after a kill, never paid for twice, shown as tables."""

import re
import shutil
import subprocess
import sys
import threading
from itertools import count

import pytest
from helpers.proposers.llm_runs import ANTHROPIC, CONFIG, SMOOTHER, calls_and_rows, start_loop
from helpers.servers.messages import Reply, answered
from helpers.tiny_profile import ROOT

from common.state import State
from experiments.costs.llm_calls import Outcome
from experiments.loop.proposer_process import ProposalPrefetcher


@pytest.mark.slow
@pytest.mark.trial
def test_kill_9_during_a_call_settles_the_reservation_and_proposes_nothing_twice(measured_repo, tmp_path, api, model):
    root = shutil.copytree(measured_repo, tmp_path / "repo", symlinks=True)
    held, numbers = threading.Event(), count(1)

    def idea(request):
        number = next(numbers)
        text = answered(CONFIG, '"smoothing": 0.5', f'"smoothing": {400.0 + number}', title=f"idea {number}")
        return Reply(text, hold=held if number == 2 else None)

    model.answers = [idea]
    first = start_loop(root, "--trials", "5")
    assert api.asked.acquire(timeout=120)
    assert api.asked.acquire(timeout=120)  # the second question is sent while the first one's trial runs
    open_calls, _ = calls_and_rows(root)
    assert [call.state for call in open_calls] == [Outcome.DONE, Outcome.RESERVED]
    first.kill()
    first.wait()
    first.stdout.close()
    held.set()
    second = start_loop(root, "--trials", "3")
    output, _ = second.communicate(timeout=240)
    assert second.returncode == 0, output
    calls, rows = calls_and_rows(root)
    lost = [call for call in calls if call.state is not Outcome.DONE]
    assert [(call.number, call.state) for call in lost] == [(open_calls[1].number, Outcome.LOST)]
    assert lost[0].dollars == lost[0].reserved_dollars > 0
    tried = [row for row in rows if row.state.counts_as_attempt and row.state is not State.BASELINE]
    assert len({row.title for row in tried}) == len({row.fingerprint for row in tried}) == len(tried) >= 3
    assert "idea 1" in {row.title for row in tried}  # the interrupted trial was repeated without another call
    assert len(calls) == len(tried) + 1
    assert f"model calls: {len(calls)} for" in output


def test_calls_are_shown_as_tables(run, api, model):
    model.answers = [answered(CONFIG, "nowhere", "x"), SMOOTHER]
    ProposalPrefetcher(run, ANTHROPIC).next()
    command = [sys.executable, "-m", "experiments", "calls", "--root", str(run.workspace.root), "--run", "night"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(r"propose\s+done\s+1 ", shown)
    assert re.search(r"repair\s+done\s+1 ", shown)
    assert "the first call" in shown
    assert "2 calls for 1 proposals of claude-opus-5-5" in shown

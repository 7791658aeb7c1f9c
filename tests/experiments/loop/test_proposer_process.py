"""The proposer as a process: prefetching, notes and reasons from stderr, and the end of a request."""

import contextlib
import re
import subprocess
import sys
import threading

import pytest
from helpers.proposers.llm_runs import ANTHROPIC, BETTER, SMOOTHER, TWICE
from helpers.servers.messages import Reply, error
from helpers.tiny_profile import ROOT

from common.errors import NeedsPerson
from common.state import State
from experiments.costs.llm_calls import Calls, Outcome
from experiments.ledger.store import Ledger
from experiments.loop import controller
from experiments.loop.proposer_process import ProposalPrefetcher
from experiments.loop.recovery import settle_stopped
from experiments.run.request import RunRequest


@pytest.mark.slow
@pytest.mark.trial
def test_the_next_proposal_is_prefetched_while_a_trial_runs(run, api, model):
    model.answers = [BETTER, SMOOTHER, TWICE]
    messages = []
    reason = controller.run(run, RunRequest(proposer=ANTHROPIC), lambda _: None, messages.append)
    assert reason == "3 trials are settled", messages
    rows = run.ledger.rows()
    assert [row.title for row in rows[1:]] == ["more text", "smoother", "twice"]
    assert rows[1].state is State.KEPT
    questions = [request["messages"][0]["content"] for request in api.requests]
    assert len(questions) == 3  # a question that was asked for the old incumbent is not asked again
    under_way = questions[1].partition("## Under way")[2].partition("##")[0]
    assert 'trial 1, architecture: "more text"' in under_way
    assert rows[2].parent == rows[1].commit_id  # and its answer is written against the new one
    assert [call.trial for call in Calls(run.ledger).rows()] == [1, 2, 3]
    assert run.ledger.stages(2)["propose"] < 60


def test_a_problem_for_the_user_is_not_retried(run, api, model):
    model.answers = [error(402, "no credit left")]
    with pytest.raises(NeedsPerson, match="add credit"):
        ProposalPrefetcher(run, ANTHROPIC).next()


def test_notes_are_shown_while_the_process_works(run, api, model, tmp_path):
    """Notes are passed on at once, and only the last line of the process is the reason."""
    notes = []
    prefetcher = ProposalPrefetcher(run, ANTHROPIC, notes.append)
    prefetcher.command = ["sh", "-c", "echo 'note: rate limited; waiting 15 s' >&2; echo why >&2; exit 3"]
    with pytest.raises(Exception, match="generate_next.py: why"):
        prefetcher.propose()
    assert notes == ["rate limited; waiting 15 s"]


@pytest.mark.parametrize("flag", ["--dry-run", "--explain"])
@pytest.mark.parametrize("proposer", ["anthropic", "mix"])
def test_the_question_can_be_shown_without_asking_it(run, flag, proposer):
    command = [sys.executable, "generate_next.py", "--root", str(run.workspace.root), "--run", "night"]
    done = subprocess.run([*command, "--proposer", proposer, flag], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "class    architecture" in done.stdout
    assert re.search(r"price    \$0\.\d+ with an empty cache, \$0\.\d+ with the prefix", done.stdout)
    assert "# What was tried" in done.stdout
    assert ("# The question" in done.stdout) == (flag == "--dry-run")
    with contextlib.closing(Ledger(run.folder / "ledger.sqlite")) as ledger:
        assert not Calls(ledger).rows()


def test_a_stopped_run_records_the_call_that_was_open(run, api, model):
    held = threading.Event()
    model.answers = [Reply(SMOOTHER, hold=held)]
    prefetcher = ProposalPrefetcher(run, ANTHROPIC)
    prefetcher.prefetch()
    assert api.asked.acquire(timeout=120)
    prefetcher.stop()
    held.set()
    assert isinstance(prefetcher.result, Exception)
    settle_stopped(run)
    (call,) = Calls(run.ledger).rows()
    assert (call.state, call.dollars) == (Outcome.LOST, call.reserved_dollars)

"""The next idea: an interrupted one comes back whoever proposed it, a person's come before the proposer's."""

import json

import pytest
from helpers.tiny_profile import MORE_TEXT, proposal

from common.errors import NoProposal
from common.state import ATTEMPTS, State
from experiments.ledger.requests import DROPPED
from experiments.loop.ideas import Ideas, interrupted
from experiments.proposal.schema import Proposal
from experiments.runner.local import LocalRunner
from experiments.trial.trial import run_trial

WORSE = ("base/config.py", '"smoothing": 0.5', '"smoothing": 40.0')
OTHER = ("base/config.py", '"smoothing": 0.5', '"smoothing": 3.0')


class Proposer:
    """A source of one idea, and of nothing when asked again."""

    def __init__(self, text):
        self.texts = [text]

    def next(self):
        if not self.texts:
            raise NoProposal("nothing left")
        return self.texts.pop()


def interrupt(run, text, budget, monkeypatch, by_person=False):
    def stop(self, job):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LocalRunner, "measure", stop)
        with pytest.raises(KeyboardInterrupt):
            run_trial(run, text, budget, by_person=by_person)


@pytest.mark.parametrize(
    "by", ["search", *(pytest.param(by, marks=pytest.mark.slow) for by in ("merge", "a-model", ""))]
)
def test_an_interrupted_idea_comes_back_whoever_proposed_it(run, budget, monkeypatch, by):
    text = proposal(run, WORSE, by=by)
    interrupt(run, text, budget, monkeypatch)
    ideas = Ideas(run, Proposer(proposal(run, OTHER)), lambda _: None)
    again = ideas.next()
    assert Proposal.parse(again.text) == Proposal.parse(text)
    assert again.request is None
    assert run_trial(run, again.text, budget).state is State.DISCARDED
    assert Proposal.parse(ideas.next().text).edits[0].replace == OTHER[2]
    with pytest.raises(NoProposal):
        ideas.next()


def test_an_idea_that_the_machine_failed_on_is_tried_once_more_and_not_a_third_time(run, budget, monkeypatch):
    def fail(self, job):
        raise OSError("the disk is full")

    monkeypatch.setattr(LocalRunner, "measure", fail)
    for attempt in range(1, ATTEMPTS + 1):
        with pytest.raises(OSError, match="the disk is full"):
            run_trial(run, proposal(run, MORE_TEXT), budget)
        lost = interrupted(run.ledger, run.workspace.best())
        assert (lost is None) == (attempt == ATTEMPTS)


def test_a_persons_ideas_come_first_and_follow_the_incumbent(run_with_keep, budget):
    run, kept = run_with_keep, run_with_keep.ledger.row(1)
    asked = Proposal.parse(proposal(run, WORSE, by="person", title="mine", parent=kept.parent)).to_json()
    run.ledger.add_request("try", None, asked)
    ideas = Ideas(run, Proposer(proposal(run, OTHER)), lambda _: None)
    idea = ideas.next()
    assert idea.request is not None
    assert Proposal.parse(idea.text).title == "mine"
    assert Proposal.parse(idea.text).parent == kept.commit_id
    row = run_trial(run, idea.text, budget, by_person=True)
    assert row.state.counts_as_attempt
    assert ideas.next() is None  # the controller ended before the request was marked as done
    assert run.ledger.next_request() is None
    assert Proposal.parse(ideas.next().text).title == "an idea"


def test_a_request_that_cannot_be_carried_out_says_why_and_the_run_goes_on(run):
    run.ledger.add_request("revert", 0, "")
    said = []
    ideas = Ideas(run, Proposer("text"), said.append)
    assert ideas.next() is None
    assert ideas.next().text == "text"
    assert "expected a kept one" in run.ledger.requests()[0].outcome
    assert "revert: not done" in said[0]


def test_what_a_person_dropped_does_not_come_back(run, budget, monkeypatch):
    asked = Proposal.parse(proposal(run, OTHER, by="person", title="mine")).to_json()
    number = run.ledger.add_request("try", None, asked)
    idea = Ideas(run, None, lambda _: None).next()
    interrupt(run, idea.text, budget, monkeypatch, by_person=True)
    assert interrupted(run.ledger, run.workspace.best()) is not None
    run.ledger.finish_request(number, DROPPED)
    assert interrupted(run.ledger, run.workspace.best()) is None


def test_a_whole_file_never_overrides_what_was_kept_since(run_with_keep):
    """A merge would conflict, and an edit that replaces the file would undo the keep without a word."""
    run, kept = run_with_keep, run_with_keep.ledger.row(1)
    before = run.workspace.read(kept.parent)["base/config.py"].text
    content = before.replace('"smoothing": 0.5', '"smoothing": 3.0')
    edits = [{"path": "base/config.py", "content": content}]
    fields = json.loads(proposal(run, OTHER, by="person", parent=kept.parent)) | {"edits": edits}
    run.ledger.add_request("try", None, Proposal.parse(json.dumps(fields)).to_json())
    assert Ideas(run, None, lambda _: None).next() is None
    assert "conflicts with what the run has kept" in run.ledger.requests()[0].outcome

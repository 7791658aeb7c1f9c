"""The budget of LLM calls, and the lock that allows one proposing process."""

import os

import pytest
from helpers.proposers.answers import GOOD, forget_proposals, recorded_calls

from common.errors import NeedsPerson, NoProposal, ProposerFailed
from proposers.llm.anthropic import MODEL
from proposers.llm.budget import CallBudget
from proposers.reply import next_proposal


def test_budget_stops_before_it_is_exceeded(api, model, make_anthropic, make_context):
    model.answers = [GOOD]
    context = make_context()
    next_proposal(make_anthropic(budget_usd=2.0), context)
    spent = sum(call.dollars for call in recorded_calls(context))
    forget_proposals(context)
    with pytest.raises(NoProposal, match=r"budget of \$.* is used up.*--budget-usd"):
        next_proposal(make_anthropic(budget_usd=spent + 0.01), context)
    assert len(api.requests) == 1


def test_budget_needs_a_known_price(api, make_anthropic, make_context):
    with pytest.raises(NeedsPerson, match=r"no price of claude-haiku-5-5.*prices.py"):
        next_proposal(make_anthropic(budget_usd=5.0, model="claude-haiku-5-5"), make_context())
    assert not api.requests


def test_lock_of_another_process_is_respected(api, model, make_anthropic, make_context):
    model.answers = [GOOD]
    context = make_context()
    budget = CallBudget.open(context.ledger, context.profile, MODEL, None)
    message = rf"pid {os.getpid()} .* is already proposing for run .*; wait for it to end"
    with pytest.raises(ProposerFailed, match=message):
        next_proposal(make_anthropic(), context)
    budget.close()
    next_proposal(make_anthropic(), context)

"""The LLM proposer against the real SDK and a server that speaks the real protocol, without mocks of either."""

import json
from typing import get_args, get_type_hints

import anthropic
import pytest
from helpers.proposers.answers import GOOD, LINE, UNMATCHABLE, forget_proposals, recorded_calls
from helpers.proposers.rows import BASE, row
from helpers.servers.messages import Reply, answered

from common.errors import NoProposal, ProposalError
from common.state import State
from experiments.costs.llm_calls import Outcome
from experiments.costs.prices import PRICES, PRICES_DATE, price_of
from experiments.proposal.options import ProposerOptions
from experiments.proposal.schema import Proposal
from preflight.source.tree import PLAIN, Source
from proposers.allocation import CLASSES, STREAK
from proposers.llm.anthropic import EFFORTS, MODEL, proposal_from
from proposers.mix import Mix
from proposers.reply import next_proposal


def test_sdk_knows_default_model_efforts_and_priced_models():
    literal, _ = get_args(anthropic.types.ModelParam)
    known = set(get_args(literal))
    assert MODEL in known
    assert set(PRICES) <= known
    effort, _ = get_args(get_type_hints(anthropic.types.OutputConfigParam)["effort"])
    assert get_args(effort) == EFFORTS
    assert price_of(f"{MODEL}-20260922") == PRICES[MODEL]
    assert price_of("claude-none") is None
    assert PRICES_DATE >= "2026-11"


def test_call_is_recorded_with_its_cost(model, make_anthropic, make_context):
    model.answers = [GOOD]
    context = make_context()
    proposal = Proposal.parse(next_proposal(make_anthropic(), context))
    assert (proposal.title, proposal.by, proposal.parent) == ("two", MODEL, context.parent)
    (call,) = recorded_calls(context)
    assert (call.state, call.purpose, call.trial, call.model) == (Outcome.DONE, "propose", 0, MODEL)
    assert call.request_id.startswith("req_")
    assert call.thinking_tokens > 0
    assert call.output_tokens > call.thinking_tokens
    price = PRICES[MODEL]
    written = call.write_5m_tokens * price.write_5m + call.write_1h_tokens * price.write_1h
    expected = call.fresh_tokens * price.input + written + call.output_tokens * price.output
    assert call.dollars == pytest.approx(expected / 1e6)
    assert call.dollars < call.reserved_dollars


def test_repair_continues_the_conversation(api, model, make_anthropic, make_context):
    model.answers = [UNMATCHABLE, GOOD]
    proposal = Proposal.parse(next_proposal(make_anthropic(), make_context()))
    assert proposal.title == "two"
    first, second = api.requests
    assert first["system"] == second["system"]
    assert second["messages"][0] == first["messages"][0]
    assert "no such line" in json.dumps(second["messages"][1])
    assert "matches 0 times, expected 1" in second["messages"][2]["content"]
    assert [call.purpose for call in recorded_calls(make_context())] == ["propose", "repair"]
    assert [call.proposal is None for call in recorded_calls(make_context())] == [True, False]
    assert api.usages[1]["cache_read_input_tokens"] > 20_000


@pytest.mark.parametrize(
    ("edit", "verdict"),
    [
        (("base/optim/schedule.py", LINE, LINE[:-1] + "  # again\n"), "no_op"),
        (("base/optim/schedule.py", LINE, "import maths_(\n"), "static"),
        (("base/optim/schedule.py", LINE, LINE + "import base.nowhere\n"), "static"),
        (("base/tokens/bpb.py", "import", "import"), "static"),
        (("/etc/passwd", "root", "toor"), "static"),
        (("base/nowhere.py", "x", "y"), "bad_diff"),
    ],
)
def test_static_finding_is_sent_back_in_the_conversation(api, model, make_anthropic, make_context, edit, verdict):
    model.answers = [answered(*edit), GOOD]
    assert Proposal.parse(next_proposal(make_anthropic(), make_context())).title == "two"
    assert f"({verdict})" in api.requests[1]["messages"][2]["content"]


def test_at_most_two_repairs(api, model, make_anthropic, make_context):
    model.answers = [UNMATCHABLE]
    proposal = Proposal.parse(next_proposal(make_anthropic(), make_context()))
    assert proposal.title == "nothing there"
    assert len(api.requests) == 3


def test_requested_files_are_sent_once(api, model, make_anthropic, make_context):
    wanted = ["base/optim/muon.py", "base/nowhere.py"]
    model.answers = [answered(files=wanted), answered(files=wanted), GOOD]
    assert Proposal.parse(next_proposal(make_anthropic(), make_context())).title == "two"
    sent = api.requests[1]["messages"][2]["content"]
    assert BASE["base/optim/muon.py"].content.decode() in sent
    assert "base/nowhere.py" in sent
    assert "edits: " in api.requests[2]["messages"][4]["content"]  # a second request is a proposal without edits
    assert [call.purpose for call in recorded_calls(make_context())] == ["propose", "files", "repair"]


@pytest.mark.parametrize(
    "hostile",
    [
        "I would rather talk.",
        "[1, 2, 3]",
        "{" * 20_000,
        answered(edits="all of them"),
        answered(edits=[7]),
        answered("base/a/../../etc.py", content="x"),
        answered(title="\x1b[2J\r\nTrial: 9", edits=[]),
        answered(title="x" * 100_000),
        answered(**{"class": "none"}),
        answered(expected_delta_bpb="very good"),
    ],
)
def test_malformed_and_hostile_replies_are_repaired(model, make_anthropic, make_context, hostile):
    model.answers = [hostile, GOOD]
    assert Proposal.parse(next_proposal(make_anthropic(), make_context())).title == "two"


def test_invalid_idea_tag_and_extra_fields_are_dropped(model, make_anthropic, make_context):
    model.answers = [answered("base/optim/schedule.py", LINE, LINE + "T = 2\n", idea="A3; rm", extra=1)]
    assert Proposal.parse(next_proposal(make_anthropic(), make_context())).idea == ""


@pytest.mark.parametrize("answer", [Reply("x" * 200_000), "no JSON at all", Reply("  ", thinking="")])
def test_three_unreadable_answers_become_a_row(api, model, make_anthropic, make_context, answer):
    model.answers = [answer]
    text = next_proposal(make_anthropic(), make_context())
    assert len(api.requests) == 3
    with pytest.raises(ProposalError):
        Proposal.parse(text)


def test_edit_with_both_replacement_and_content_is_refused(model, make_anthropic, make_context):
    both = {"path": "base/optim/schedule.py", "search": LINE, "replace": LINE + "T = 1\n", "content": "T = 2\n"}
    model.answers = [answered(edits=[both]), GOOD]
    assert Proposal.parse(next_proposal(make_anthropic(), make_context())).title == "two"


def test_infinite_expectation_is_repaired(model, make_anthropic, make_context):
    model.answers = [GOOD.replace("-0.01", "1e999"), GOOD]
    assert Proposal.parse(next_proposal(make_anthropic(), make_context())).expected_delta_bpb == -0.01


def test_model_name_of_a_gateway_is_sanitized(make_context):
    fields = proposal_from(json.loads(GOOD), "a" * 40, "anthropic/claude-opus-5-5-v1:0")
    assert Proposal.parse(json.dumps(fields)).by == "anthropic-claude-opus-5-5-v1-0"


def test_refusal_leads_to_one_other_class(api, model, make_anthropic, make_context):
    refusal = Reply(stop_reason="refusal", category="frontier_llm")
    model.answers = [refusal, GOOD]
    assert Proposal.parse(next_proposal(make_anthropic(), make_context())).title == "two"
    first, second = (request["messages"][0]["content"] for request in api.requests)
    assert "class **architecture**" in first
    assert "class **architecture**" not in second
    assert recorded_calls(make_context())[0].state is Outcome.REFUSED
    forget_proposals(make_context())
    model.answers = [refusal]
    with pytest.raises(NoProposal, match=r"frontier_llm.*--model"):
        next_proposal(make_anthropic(), make_context())


def test_paid_proposal_is_reused_before_a_new_call(api, model, make_anthropic, make_context):
    model.answers = [GOOD]
    first = next_proposal(make_anthropic(), make_context())
    again = Proposal.parse(next_proposal(make_anthropic(), make_context(parent="b" * 40)))
    assert len(api.requests) == 1
    assert (again.parent, again.edits) == ("b" * 40, Proposal.parse(first).edits)
    once = [row(1, State.INFRA, proposal=first)]
    again = Proposal.parse(next_proposal(make_anthropic(), make_context(once)))
    assert again.title == "two"  # an infrastructure failure is tried once more
    assert len(api.requests) == 1
    model.answers = [answered("base/optim/schedule.py", LINE, LINE + "\nTHREE = 3\n", title="three")]
    for tried in ([*once, row(2, State.INFRA, proposal=first)], [row(1, State.STATIC, proposal=first)]):
        assert Proposal.parse(next_proposal(make_anthropic(), make_context(tried))).title == "three"
    assert len(api.requests) == 2  # the second time "three" was reused
    moved = {**BASE, "base/optim/schedule.py": Source(PLAIN, b"import math\n")}
    next_proposal(make_anthropic(), make_context(tree=moved))
    assert len(api.requests) == 5  # neither applies any more, nor do the three new answers


def test_proposals_of_search_are_not_turns_of_the_model(make_context):
    """In a mix, proposals of the search have classes too; the model's own classes still come in threes."""
    rows, asked = [row(0, State.BASELINE, val_bpb=1.94)], []
    model = Mix(ProposerOptions()).structure
    for number in range(1, 25):
        choice = model.plan(make_context(rows)).choice
        asked.append(choice.name)
        rows.append(row(2 * number, kind=choice.name, proposal='{"by": "claude-opus-5-5"}'))
        rows.append(row(2 * number + 1, kind=CLASSES[number % 5], proposal='{"by": "search"}'))
    assert all(len(set(asked[i : i + STREAK])) == 1 for i in range(0, 24, STREAK))
    assert set(asked) == set(CLASSES)

"""The LLM proposer against the real SDK and a server that speaks the real protocol: no mock of either."""

import json
import os
from typing import get_args, get_type_hints

import anthropic
import pytest
from messages_api import Invalid, Reply, answered, error, validate
from proposing import context
from support import ROOT

from data.errors import NeedsPerson, NoProposal, ProposalError, ProposerFailed
from data.state import State
from experiments import api_check
from experiments.calls import Calls, Outcome
from experiments.ledger import COLUMNS, Ledger, Row
from experiments.prices import PRICES, PRICES_DATE, price_of
from experiments.proposal import Class, Proposal
from preflight.tree import PLAIN, Source, read_folder
from proposers import render
from proposers.anthropic_api import EFFORTS, MODEL, proposal
from proposers.conversation import OUTPUT_TOKENS, PAUSES_SECONDS
from proposers.meter import Meter
from proposers.reply import next_proposal

BASE = read_folder(ROOT)
LINE = "from math import cos, pi\n"
GOOD = answered("base/optim/schedule.py", LINE, LINE + "\nTWO = 2\n", title="two")
UNMATCHABLE = answered("base/optim/schedule.py", "no such line", "x = 1", title="nothing there")


@pytest.fixture
def view(tmp_path):
    """A run's context with a ledger of its own on disk."""
    Ledger(tmp_path / "ledger.sqlite").close()

    def make(rows=(), tree=BASE, **fields):
        return context(tree, rows, tmp_path / "proposer", **fields)

    return make


def row(number, state=State.DISCARDED, **fields):
    plain = {"number": number, "state": state, "title": f"trial {number}", "kind": "optimiser", "detail": "",
             "proposal": "{}", "hypothesis": "", "parent": "a" * 40}  # fmt: skip
    return Row(**{**dict.fromkeys(COLUMNS), **plain, **fields})


def calls(view):
    ledger = Ledger(view.ledger)
    try:
        return Calls(ledger).rows()
    finally:
        ledger.close()


def forget(view):
    """No proposal waits for its trial any more."""
    ledger = Ledger(view.ledger)
    with ledger.connection:
        ledger.connection.execute("UPDATE calls SET proposal = NULL")
    ledger.close()


def test_the_default_model_the_effort_and_all_prices_are_known_to_the_sdk():
    literal, _ = get_args(anthropic.types.ModelParam)
    known = set(get_args(literal))
    assert MODEL in known
    assert set(PRICES) <= known
    effort, _ = get_args(get_type_hints(anthropic.types.OutputConfigParam)["effort"])
    assert get_args(effort) == EFFORTS
    assert price_of(f"{MODEL}-20260922") == PRICES[MODEL]
    assert price_of("claude-none") is None
    assert PRICES_DATE >= "2026-11"


def test_the_reply_schema_names_every_class_and_every_field():
    schema = render.schema()
    assert schema["properties"]["class"]["enum"] == list(get_args(Class))
    assert set(schema["required"]) == set(schema["properties"])
    names = {field.alias or name for name, field in Proposal.model_fields.items()}
    assert set(schema["properties"]) - {"files", "lessons"} == names - {"parent", "by"}


def test_a_question_and_its_row(model, asker, view):
    model.answers = [GOOD]
    run = view()
    made = Proposal.parse(next_proposal(asker(), run))
    assert (made.title, made.by, made.parent) == ("two", MODEL, run.parent)
    (call,) = calls(run)
    assert (call.state, call.purpose, call.trial, call.model) == (Outcome.DONE, "propose", 0, MODEL)
    assert call.request_id.startswith("req_")
    assert call.thinking_tokens > 0
    assert call.output_tokens > call.thinking_tokens
    price = PRICES[MODEL]
    written = call.write_5m_tokens * price.write_5m + call.write_1h_tokens * price.write_1h
    expected = call.fresh_tokens * price.input + written + call.output_tokens * price.output
    assert call.dollars == pytest.approx(expected / 1e6)
    assert call.dollars < call.reserved_dollars


def test_no_sampling_parameter_leaves_and_the_effort_does(api, model, asker, view):
    model.answers = [GOOD]
    next_proposal(asker(effort="high"), view())
    (request,) = api.requests
    assert not {"temperature", "top_p", "top_k"} & request.keys()
    assert request["stream"] is True
    assert request["thinking"] == {"type": "adaptive"}
    assert request["output_config"]["effort"] == "high"
    assert request["max_tokens"] == OUTPUT_TOKENS["high"]
    with pytest.raises(Invalid, match="temperature"):
        validate({**request, "temperature": 0.5})
    with pytest.raises(Invalid, match="4 blocks"):
        validate({**request, "system": request["system"] * 2})


@pytest.mark.parametrize(("minutes", "profile", "least"), [(1, "pocket", 0.8), (6, "h100", 0.8), (22, "8xh100", 0.8)])
def test_the_prefix_is_read_from_the_cache(api, model, asker, view, minutes, profile, least):
    model.answers = [GOOD]
    for _ in range(2):
        next_proposal(asker(), view(profile=profile))
        forget(view())
        api.now += 60 * minutes
    first, second = api.usages
    assert first["cache_read_input_tokens"] == 0
    total = sum(second[name] for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"))
    assert second["cache_read_input_tokens"] / total > least
    api.now += 3601
    next_proposal(asker(), view(profile=profile))
    assert api.usages[-1]["cache_read_input_tokens"] == 0


def test_a_repair_goes_on_in_the_same_conversation(api, model, asker, view):
    model.answers = [UNMATCHABLE, GOOD]
    made = Proposal.parse(next_proposal(asker(), view()))
    assert made.title == "two"
    first, second = api.requests
    assert first["system"] == second["system"]
    assert second["messages"][0] == first["messages"][0]
    assert "no such line" in json.dumps(second["messages"][1])
    assert "matches 0 times, expected 1" in second["messages"][2]["content"]
    assert [call.purpose for call in calls(view())] == ["propose", "repair"]
    assert [call.proposal is None for call in calls(view())] == [True, False]
    assert api.usages[1]["cache_read_input_tokens"] > 20_000


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("base/optim/schedule.py", LINE, LINE[:-1] + "  # again\n"), "no_op"),
        (("base/optim/schedule.py", LINE, "import maths_(\n"), "static"),
        (("base/optim/schedule.py", LINE, LINE + "import base.nowhere\n"), "static"),
        (("base/tokens/bpb.py", "import", "import"), "static"),
        (("/etc/passwd", "root", "toor"), "static"),
        (("base/nowhere.py", "x", "y"), "bad_diff"),
    ],
)
def test_what_a_cheap_tier_finds_is_told_in_the_conversation(api, model, asker, view, edit, said):
    model.answers = [answered(*edit), GOOD]
    assert Proposal.parse(next_proposal(asker(), view())).title == "two"
    assert f"({said})" in api.requests[1]["messages"][2]["content"]


def test_at_most_two_repairs(api, model, asker, view):
    model.answers = [UNMATCHABLE]
    made = Proposal.parse(next_proposal(asker(), view()))
    assert made.title == "nothing there"
    assert len(api.requests) == 3


def test_files_are_sent_once_when_asked_for(api, model, asker, view):
    wanted = ["base/optim/muon.py", "base/nowhere.py"]
    model.answers = [answered(files=wanted), answered(files=wanted), GOOD]
    assert Proposal.parse(next_proposal(asker(), view())).title == "two"
    sent = api.requests[1]["messages"][2]["content"]
    assert BASE["base/optim/muon.py"].content.decode() in sent
    assert "base/nowhere.py" in sent
    assert "edits: " in api.requests[2]["messages"][4]["content"]  # the second wish is a proposal without edits
    assert [call.purpose for call in calls(view())] == ["propose", "files", "repair"]


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
def test_malformed_and_hostile_replies_are_repaired_or_typed(model, asker, view, hostile):
    model.answers = [hostile, GOOD]
    assert Proposal.parse(next_proposal(asker(), view())).title == "two"


def test_a_tag_that_is_none_and_extra_fields_do_not_spoil_a_proposal(model, asker, view):
    model.answers = [answered("base/optim/schedule.py", LINE, LINE + "T = 2\n", idea="A3; rm", extra=1)]
    assert Proposal.parse(next_proposal(asker(), view())).idea == ""


@pytest.mark.parametrize("status", [429, 500, 529])
def test_what_may_pass_is_waited_for_with_a_growing_pause_that_shows(api, model, asker, view, capfd, status):
    model.answers = [error(status, "not now")] * 2 + [GOOD]
    proposer = asker()
    assert Proposal.parse(next_proposal(proposer, view())).title == "two"
    assert proposer.paused == list(PAUSES_SECONDS[:2])
    notes = [line for line in capfd.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2
    assert f"{status}: not now; waiting 1 s" in notes[0]
    assert [call.state for call in calls(view())] == [Outcome.FAILED, Outcome.FAILED, Outcome.DONE]
    assert [call.dollars for call in calls(view())][:2] == [0.0, 0.0]


def test_the_servers_own_wish_is_a_longer_pause(model, asker, view):
    wishes = ["77", "1e9", "-5", "inf", "\u00b2", "Wed, 21 Oct 2026 07:28:00 GMT"]
    model.answers = [
        error(429, "slow down", retry_after=wish.encode("latin-1").decode("latin-1")) for wish in wishes
    ] + [GOOD]
    proposer = asker()
    next_proposal(proposer, view())
    assert proposer.paused == [77.0, 480.0, *PAUSES_SECONDS[2:6]]


def test_a_server_that_asks_for_too_much_is_left_alone(model, asker, view):
    model.answers = [error(429, "slow down", retry_after="480")]
    proposer = asker()
    with pytest.raises(ProposerFailed, match="gave up after 1440 s of pauses"):
        next_proposal(proposer, view())
    assert proposer.paused == [480.0] * 3


def test_no_network_ends_after_all_pauses(api, asker, view, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    proposer = asker()
    proposer_pauses = proposer.pauses = (1.0, 2.0)
    with pytest.raises(ProposerFailed, match="cannot be reached"):
        next_proposal(proposer, view())
    assert proposer.paused == list(proposer_pauses)


@pytest.mark.parametrize(
    ("status", "message", "way"),
    [
        (401, "invalid x-api-key", "export ANTHROPIC_API_KEY"),
        (402, "no credit", "add credit"),
        (400, "Your credit balance is too low", "add credit"),
        (403, "not allowed", "another key"),
        (404, "model: x", "--model"),
        (400, "adaptive thinking is not supported on this model", "another --model"),
    ],
)
def test_what_a_person_must_mend_stops_with_one_line(model, asker, view, status, message, way):
    model.answers = [error(status, message)]
    with pytest.raises(NeedsPerson, match=way) as raised:
        next_proposal(asker(), view())
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_a_key_there_is_a_way_on(api, asker, view, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(NeedsPerson, match="export ANTHROPIC_API_KEY=…"):
        next_proposal(asker(), view())


def test_an_overflow_shrinks_the_prompt(api, model, asker, view, capfd):
    model.answers = [GOOD]
    api.context_tokens = 34_000
    rows = [row(number, title="long " * 40, delta_bpb=-0.001) for number in range(30)]
    run = view(rows)
    assert Proposal.parse(next_proposal(asker(), run)).title == "two"
    sizes = [sum(len(part["text"]) for part in request["system"]) for request in api.requests]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) > 1
    assert "asking with" in capfd.readouterr().err
    api.context_tokens = 10
    forget(run)
    with pytest.raises(ProposerFailed, match="too long"):
        next_proposal(asker(), run)


def test_a_request_too_large_is_an_overflow_too(model, asker, view):
    model.answers = [error(413, "too many bytes"), GOOD]
    assert Proposal.parse(next_proposal(asker(), view())).title == "two"


def test_a_refusal_asks_another_class_once(api, model, asker, view):
    refusal = Reply(stop_reason="refusal", category="frontier_llm")
    model.answers = [refusal, GOOD]
    assert Proposal.parse(next_proposal(asker(), view())).title == "two"
    first, second = (request["messages"][0]["content"] for request in api.requests)
    assert "class **architecture**" in first
    assert "class **architecture**" not in second
    assert calls(view())[0].state is Outcome.REFUSED
    forget(view())
    model.answers = [refusal]
    with pytest.raises(NoProposal, match=r"frontier_llm.*--model"):
        next_proposal(asker(), view())


def test_an_answer_that_is_cut_off_is_asked_for_again(model, asker, view):
    model.answers = [Reply("x" * 100_000), GOOD]
    assert Proposal.parse(next_proposal(asker(), view())).title == "two"


@pytest.mark.parametrize(
    "broken",
    [
        Reply(GOOD, broken_after=0),
        Reply(GOOD, error_event="overloaded_error"),
        Reply(GOOD, odd_event="content_block_delta"),
        Reply(
            raw=b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: message_start\ndata: {nonsense\n\n"
        ),
    ],
)
def test_a_stream_that_breaks_is_booked_at_its_worst_case(model, asker, view, broken):
    model.answers = [broken, GOOD]
    proposer = asker()
    assert Proposal.parse(next_proposal(proposer, view())).title == "two"
    assert len(proposer.paused) == 1
    lost, done = calls(view())
    assert lost.state is Outcome.LOST
    assert lost.dollars == lost.reserved_dollars > done.dollars


def test_an_error_before_the_first_word_costs_nothing(model, asker, view):
    event = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    model.answers = [Reply(raw=head + f"event: error\ndata: {json.dumps(event)}\n\n".encode()), GOOD]
    assert Proposal.parse(next_proposal(asker(), view())).title == "two"
    first, _ = calls(view())
    assert (first.state, first.dollars) == (Outcome.FAILED, 0.0)


@pytest.mark.parametrize("answer", [Reply("x" * 200_000), "no JSON at all", Reply("  ", thinking="")])
def test_three_answers_that_cannot_be_read_are_a_row_and_no_failure(api, model, asker, view, answer):
    model.answers = [answer]
    text = next_proposal(asker(), view())
    assert len(api.requests) == 3
    with pytest.raises(ProposalError):
        Proposal.parse(text)


@pytest.mark.parametrize("held", ["\u2026", "sk-a\nsk-b", "sk a", "\x1b[2J"])
def test_what_cannot_be_a_key_is_one_line_that_does_not_repeat_it(api, asker, view, monkeypatch, held):
    monkeypatch.setenv("ANTHROPIC_API_KEY", held)
    with pytest.raises(NeedsPerson, match="ANTHROPIC_API_KEY is no key") as raised:
        next_proposal(asker(), view())
    assert held not in str(raised.value)
    assert "is no key" in api_check.problem(held, MODEL)
    assert not api.requests


def test_a_bad_request_in_a_repair_is_no_reason_to_end_the_night(model, asker, view):
    model.answers = [UNMATCHABLE, error(400, "thinking blocks are bound")]
    with pytest.raises(ProposerFailed, match="are bound"):
        next_proposal(asker(), view())


def test_a_gateways_name_of_a_model_does_not_spoil_its_proposals(view):
    found = proposal(json.loads(GOOD), "a" * 40, "anthropic/claude-opus-5-5-v1:0")
    assert Proposal.parse(json.dumps(found)).by == "anthropic-claude-opus-5-5-v1-0"


def test_an_edit_that_says_two_things_is_refused_as_a_whole(model, asker, view):
    both = {"path": "base/optim/schedule.py", "search": LINE, "replace": LINE + "T = 1\n", "content": "T = 2\n"}
    model.answers = [answered(edits=[both]), GOOD]
    assert Proposal.parse(next_proposal(asker(), view())).title == "two"


def test_infinite_hopes_are_repaired(model, asker, view):
    model.answers = [GOOD.replace("-0.01", "1e999"), GOOD]
    assert Proposal.parse(next_proposal(asker(), view())).expected_delta_bpb == -0.01


def test_a_budget_stops_before_it_is_passed(api, model, asker, view):
    model.answers = [GOOD]
    run = view()
    next_proposal(asker(budget_usd=2.0), run)
    spent = sum(call.dollars for call in calls(run))
    forget(run)
    with pytest.raises(NoProposal, match=r"budget of \$.* is used up.*--budget-usd"):
        next_proposal(asker(budget_usd=spent + 0.01), run)
    assert len(api.requests) == 1


def test_a_budget_needs_a_known_price(api, asker, view):
    with pytest.raises(NeedsPerson, match=r"no price of claude-haiku-5-5.*prices.py"):
        next_proposal(asker(budget_usd=5.0, model="claude-haiku-5-5"), view())
    assert not api.requests


def test_another_process_that_asks_is_respected(api, model, asker, view):
    model.answers = [GOOD]
    run = view()
    held = Meter.open(run.ledger, run.profile, MODEL, None)
    with pytest.raises(ProposerFailed, match=rf"pid {os.getpid()} .* is asking for run .*; wait for it to end"):
        next_proposal(asker(), run)
    held.close()
    next_proposal(asker(), run)


def test_what_was_paid_for_is_proposed_and_not_asked_again(api, model, asker, view):
    model.answers = [GOOD]
    first = next_proposal(asker(), view())
    again = Proposal.parse(next_proposal(asker(), view(parent="b" * 40)))
    assert len(api.requests) == 1
    assert (again.parent, again.edits) == ("b" * 40, Proposal.parse(first).edits)
    once = [row(1, State.INFRA, proposal=first)]
    assert Proposal.parse(next_proposal(asker(), view(once))).title == "two"  # the machine's fault: tried once more
    assert len(api.requests) == 1
    model.answers = [answered("base/optim/schedule.py", LINE, LINE + "\nTHREE = 3\n", title="three")]
    for tried in ([*once, row(2, State.INFRA, proposal=first)], [row(1, State.STATIC, proposal=first)]):
        assert Proposal.parse(next_proposal(asker(), view(tried))).title == "three"
    assert len(api.requests) == 2  # the second time "three" is what waits
    moved = {**BASE, "base/optim/schedule.py": Source(PLAIN, b"import math\n")}
    next_proposal(asker(), view(tree=moved))
    assert len(api.requests) == 5  # neither applies any more, and what the model says does not either


def test_lessons_are_asked_for_when_due_bounded_and_kept(api, model, asker, view):
    lines = ["x" * 1000, "\x1b[31mred\nTrial: 7"] + ["more"] * 50
    model.answers = [answered("base/optim/schedule.py", LINE, LINE + "\nTWO = 2\n", lessons=lines)]
    rows = [row(number) for number in range(10)]
    run = view(rows)
    next_proposal(asker(), run)
    assert "write `lessons` anew" in api.requests[0]["messages"][0]["content"]
    page = (run.ledger.parent / "lessons.md").read_text().splitlines()
    assert len(page) == 2 + 10
    assert max(map(len, page)) <= 222 + 60
    assert "\x1b" not in "".join(page)
    question = render.prompt(run, "optimiser").question
    assert "write `lessons` anew" not in question
    assert '"\\\\x1b[31mred\\\\x0aTrial: 7"' in question

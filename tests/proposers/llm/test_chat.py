"""Conversations with the model: pauses, overflows, broken streams and what they cost."""

import json

import pytest
from helpers.proposers.answers import GOOD, UNMATCHABLE, forget_proposals, recorded_calls
from helpers.proposers.rows import row
from helpers.servers.messages import Reply, error

from common.errors import ProposerFailed
from experiments.costs.llm_calls import Outcome
from experiments.proposal.schema import Proposal
from proposers.llm.chat import PAUSES_SECONDS
from proposers.reply import next_proposal


@pytest.mark.parametrize("status", [429, 500, 529])
def test_transient_error_is_retried_after_a_growing_pause(api, model, make_anthropic, make_context, capfd, status):
    model.answers = [error(status, "not now")] * 2 + [GOOD]
    proposer = make_anthropic()
    assert Proposal.parse(next_proposal(proposer, make_context())).title == "two"
    assert proposer.paused == list(PAUSES_SECONDS[:2])
    notes = [line for line in capfd.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2
    assert f"{status}: not now; waiting 1 s" in notes[0]
    assert [call.state for call in recorded_calls(make_context())] == [Outcome.FAILED, Outcome.FAILED, Outcome.DONE]
    assert [call.dollars for call in recorded_calls(make_context())][:2] == [0.0, 0.0]


def test_retry_after_lengthens_the_pause(model, make_anthropic, make_context):
    wishes = ["77", "1e9", "-5", "inf", "\u00b2", "Wed, 21 Oct 2026 07:28:00 GMT"]
    model.answers = [
        error(429, "slow down", retry_after=wish.encode("latin-1").decode("latin-1")) for wish in wishes
    ] + [GOOD]
    proposer = make_anthropic()
    next_proposal(proposer, make_context())
    assert proposer.paused == [77.0, 480.0, *PAUSES_SECONDS[2:6]]


def test_gives_up_when_retry_after_exceeds_the_limit(model, make_anthropic, make_context):
    model.answers = [error(429, "slow down", retry_after="480")]
    proposer = make_anthropic()
    with pytest.raises(ProposerFailed, match="gave up after 1440 s of pauses"):
        next_proposal(proposer, make_context())
    assert proposer.paused == [480.0] * 3


def test_gives_up_without_network_after_all_pauses(api, make_anthropic, make_context, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    proposer = make_anthropic()
    proposer_pauses = proposer.pauses = (1.0, 2.0)
    with pytest.raises(ProposerFailed, match="cannot be reached"):
        next_proposal(proposer, make_context())
    assert proposer.paused == list(proposer_pauses)


def test_overflow_shrinks_the_prompt(api, model, make_anthropic, make_context, capfd):
    model.answers = [GOOD]
    api.context_tokens = 34_000
    rows = [row(number, title="long " * 40, delta_bpb=-0.001) for number in range(30)]
    context = make_context(rows)
    assert Proposal.parse(next_proposal(make_anthropic(), context)).title == "two"
    sizes = [sum(len(part["text"]) for part in request["system"]) for request in api.requests]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) > 1
    assert "retrying with" in capfd.readouterr().err
    api.context_tokens = 10
    forget_proposals(context)
    with pytest.raises(ProposerFailed, match="too long"):
        next_proposal(make_anthropic(), context)


def test_request_too_large_is_an_overflow(model, make_anthropic, make_context):
    model.answers = [error(413, "too many bytes"), GOOD]
    assert Proposal.parse(next_proposal(make_anthropic(), make_context())).title == "two"


def test_truncated_answer_is_repaired(model, make_anthropic, make_context):
    model.answers = [Reply("x" * 100_000), GOOD]
    assert Proposal.parse(next_proposal(make_anthropic(), make_context())).title == "two"


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
def test_broken_stream_is_recorded_at_its_worst_case(model, make_anthropic, make_context, broken):
    model.answers = [broken, GOOD]
    proposer = make_anthropic()
    assert Proposal.parse(next_proposal(proposer, make_context())).title == "two"
    assert len(proposer.paused) == 1
    lost, done = recorded_calls(make_context())
    assert lost.state is Outcome.LOST
    assert lost.dollars == lost.reserved_dollars > done.dollars


def test_error_event_before_the_answer_costs_nothing(model, make_anthropic, make_context):
    event = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    model.answers = [Reply(raw=head + f"event: error\ndata: {json.dumps(event)}\n\n".encode()), GOOD]
    assert Proposal.parse(next_proposal(make_anthropic(), make_context())).title == "two"
    first, _ = recorded_calls(make_context())
    assert (first.state, first.dollars) == (Outcome.FAILED, 0.0)


def test_bad_request_in_a_repair_does_not_end_the_run(model, make_anthropic, make_context):
    model.answers = [UNMATCHABLE, error(400, "thinking blocks are bound")]
    with pytest.raises(ProposerFailed, match="are bound"):
        next_proposal(make_anthropic(), make_context())

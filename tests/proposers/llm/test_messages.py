"""Single requests: their parameters, the prompt cache, and errors that need a person."""

import pytest
from helpers.proposers.answers import GOOD, forget_proposals
from helpers.servers.messages import error
from helpers.servers.messages_protocol import Invalid, validate

from common.errors import NeedsPerson
from experiments.doctor import messages_api
from proposers.llm.anthropic import MODEL
from proposers.llm.chat import OUTPUT_TOKENS
from proposers.reply import next_proposal


def test_request_has_the_effort_and_no_sampling_parameters(api, model, make_anthropic, make_context):
    model.answers = [GOOD]
    next_proposal(make_anthropic(effort="high"), make_context())
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
def test_prefix_is_read_from_the_cache(api, model, make_anthropic, make_context, minutes, profile, least):
    model.answers = [GOOD]
    for _ in range(2):
        next_proposal(make_anthropic(), make_context(profile=profile))
        forget_proposals(make_context())
        api.now += 60 * minutes
    first, second = api.usages
    assert first["cache_read_input_tokens"] == 0
    total = sum(second[name] for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"))
    assert second["cache_read_input_tokens"] / total > least
    api.now += 3601
    next_proposal(make_anthropic(), make_context(profile=profile))
    assert api.usages[-1]["cache_read_input_tokens"] == 0


@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (401, "invalid x-api-key", "export ANTHROPIC_API_KEY"),
        (402, "no credit", "add credit"),
        (400, "Your credit balance is too low", "add credit"),
        (403, "not allowed", "another key"),
        (404, "model: x", "--model"),
        (400, "adaptive thinking is not supported on this model", "another --model"),
    ],
)
def test_error_that_needs_a_person_is_one_line(model, make_anthropic, make_context, status, message, hint):
    model.answers = [error(status, message)]
    with pytest.raises(NeedsPerson, match=hint) as raised:
        next_proposal(make_anthropic(), make_context())
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_key_is_explained(api, make_anthropic, make_context, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(NeedsPerson, match="export ANTHROPIC_API_KEY=…"):
        next_proposal(make_anthropic(), make_context())


@pytest.mark.parametrize("key", ["\u2026", "sk-a\nsk-b", "sk a", "\x1b[2J"])
def test_invalid_key_is_reported_without_repeating_it(api, make_anthropic, make_context, monkeypatch, key):
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    with pytest.raises(NeedsPerson, match="ANTHROPIC_API_KEY is not a valid key") as raised:
        next_proposal(make_anthropic(), make_context())
    assert key not in str(raised.value)
    assert "is not a valid key" in messages_api.problem(key, MODEL)
    assert not api.requests

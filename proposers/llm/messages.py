"""One request to the Messages API through the official SDK, with every failure mapped to one of five exceptions.

Wait: rate limit, overload, network, server error. Overflow: the prompt is too long. NeedsPerson: key, bill,
permissions, model. Refusal: the model will not answer. StreamInterrupted: the answer broke off, at an unknown cost.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any

import anthropic
import httpx2

from common.errors import CaddieError, NeedsPerson
from common.text import one_line
from experiments.costs.prices import Price, Tokens, cheapest_ttl, price_of
from experiments.messages_client import needs_person, root_cause
from proposers.llm.prompt import Prompt, schema

MAX_RETRY_AFTER_SECONDS = 480.0  # of a wait that a server asks for


class Wait(CaddieError):
    """The same request may work later.

    Args:
        message: The reason.
        seconds: How long the server asked to wait.
    """

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class Overflow(CaddieError):
    """The prompt does not fit the model's context or the API's size limit."""


class Refusal(CaddieError):
    """The model will not answer this question."""


class BadRequest(NeedsPerson):
    """The API rejects the request as it is."""


class StreamInterrupted(CaddieError):
    """The stream broke off, so the tokens that were billed are unknown."""

    def __init__(self, wait: Wait) -> None:
        super().__init__(str(wait))
        self.wait = wait


@dataclass(frozen=True)
class Answer:
    """A complete answer of the model."""

    text: str
    content: list[dict[str, Any]]  # all blocks, for the next turn of the conversation
    stopped: str
    refusal: str  # category of a refusal; empty for an answer
    tokens: Tokens
    request_id: str


def cache_ttl(model: str, minutes_between: float) -> str:
    """Return the cheapest cache TTL; if the price is unknown, assume that reads cost a tenth of input, as is usual."""
    return cheapest_ttl(price_of(model) or Price(input=1.0, output=5.0, read=0.1), minutes_between)


def request(
    model: str, effort: str, output_tokens: int, prompt: Prompt, turns: list[dict[str, Any]], cache_ttl: str
) -> dict[str, Any]:
    """Return the body of a request: a system prompt whose parts end in cache breakpoints, then the conversation."""
    cached: dict[str, Any] = {"cache_control": {"type": "ephemeral", "ttl": cache_ttl}} if cache_ttl else {}
    return {
        "model": model,
        "max_tokens": output_tokens,
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": effort, "format": {"type": "json_schema", "schema": schema()}},
        "system": [{"type": "text", "text": part, **cached} for part in prompt.prefix],
        "messages": alternating([{"role": "user", "content": prompt.question}, *turns]),
    }


def alternating(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join consecutive turns of one role (an answer that was cut off before its text leaves two user turns)."""
    joined: list[dict[str, Any]] = []
    for turn in turns:
        if joined and joined[-1]["role"] == turn["role"]:
            joined[-1] = {**turn, "content": f"{joined[-1]['content']}\n\n{turn['content']}"}
        else:
            joined.append(turn)
    return joined


def characters(request: dict[str, Any]) -> int:
    """Return the number of characters that will be counted as prompt."""
    turns = sum(len(str(turn["content"])) for turn in request["messages"])
    return sum(len(part["text"]) for part in request["system"]) + turns + len(str(request["output_config"]))


def send(client: anthropic.Anthropic, request: dict[str, Any]) -> Answer:
    """Stream one answer to its end."""
    try:
        with client.messages.stream(**request) as stream:
            try:
                message = stream.get_final_message()
                if message.stop_reason is None:  # the SDK accepts a closed connection as the end of the answer
                    raise StreamInterrupted(Wait("the answer broke off: the stream ended before the message did"))
                return _answer(message, stream.request_id or "")
            except STREAM_ERRORS as error:
                wait = Wait(f"the answer broke off: {_message(error)}")
                unbilled = isinstance(error, anthropic.APIStatusError) and not _has_started(stream)
                raise (wait if unbilled else StreamInterrupted(wait)) from error
    except anthropic.APIStatusError as error:
        raise status_error(error) from error
    except anthropic.APITimeoutError as error:  # the request was sent, so it may be billed
        raise StreamInterrupted(Wait(f"the API did not answer: {_message(error)}")) from error
    except (anthropic.APIConnectionError, httpx2.HTTPError) as error:
        reason = f"the API cannot be reached: {one_line(root_cause(error), 160)}"
        if needs_person(reason):
            raise NeedsPerson(
                f"{reason}; SSL_CERT_FILE names the certificates to trust, HTTPS_PROXY a proxy"
            ) from error
        raise Wait(reason) from error


# Errors while reading a stream: the network, an error event, and events that do not match the SDK's types.
STREAM_ERRORS = (
    *(anthropic.APIError, httpx2.HTTPError),
    *(ValueError, AssertionError, AttributeError, IndexError, KeyError, TypeError),
)


def _has_started(stream: anthropic.MessageStream[Any]) -> bool:
    """Return whether the model had started to answer; an error event before that costs nothing."""
    try:
        return stream.current_message_snapshot is not None
    except AssertionError:
        return False


def status_error(error: anthropic.APIStatusError) -> CaddieError:
    """Return the exception for an HTTP status."""
    message = f"the API answers {error.status_code}: {_message(error)}"
    match error.status_code:
        case 401:
            return NeedsPerson(f"{message}; the key is not accepted: export ANTHROPIC_API_KEY=… with a valid one")
        case 402:
            return NeedsPerson(f"{message}; add credit at platform.claude.com, then start the same run again")
        case 403:
            return NeedsPerson(f"{message}; the key lacks permission: use another key or another --model")
        case 404:
            return NeedsPerson(f"{message}; name a model that your key may use with --model")
        case 400 if "credit" in str(error) or error.type == "billing_error":
            return NeedsPerson(f"{message}; add credit at platform.claude.com, then start the same run again")
        case 413:
            return Overflow(message)
        case 400 if "too long" in str(error) or "context" in str(error):
            return Overflow(message)
        case 408 | 409 | 429:
            return Wait(message, _retry_after(error))
        case status if status >= 500:
            return Wait(message, _retry_after(error))
    return BadRequest(f"{message}; the request is invalid, so a retry would fail too: try another --model or --effort")


def _retry_after(error: anthropic.APIStatusError) -> float:
    try:
        seconds = float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return 0.0  # a date, or not valid: the caller's own pauses are enough
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS) if isfinite(seconds) else 0.0


def _message(error: Exception) -> str:
    body = getattr(error, "body", None)
    inner = body.get("error") if isinstance(body, dict) else None
    message = inner.get("message") if isinstance(inner, dict) else None
    return one_line(str(message or error) or type(error).__name__, 160)


def _answer(message: anthropic.types.Message, request_id: str) -> Answer:
    refusal = ""
    if message.stop_reason == "refusal":
        details = message.stop_details
        refusal = one_line((details.category if details else None) or "no category", 60)
    return Answer(
        text="".join(block.text for block in message.content if block.type == "text"),
        content=[block.model_dump(mode="json", exclude_none=True) for block in message.content],
        stopped=message.stop_reason or "",
        refusal=refusal,
        tokens=_tokens(message.usage),
        request_id=one_line(request_id, 80),
    )


def _tokens(usage: anthropic.types.Usage) -> Tokens:
    """Convert usage counts; `input_tokens` excludes what is read from or written to the cache."""
    written = usage.cache_creation
    hour = written.ephemeral_1h_input_tokens if written else 0
    five = written.ephemeral_5m_input_tokens if written else usage.cache_creation_input_tokens or 0
    thinking = usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else 0
    read = usage.cache_read_input_tokens or 0
    return Tokens(usage.input_tokens, five, hour, read, usage.output_tokens, thinking or 0)

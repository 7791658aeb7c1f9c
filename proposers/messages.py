"""One request to the Messages API through the official SDK, and every way it can fail as one of five kinds.

Wait: rate limit, overload, network, a server's fault. Overflow: the prompt is too long. NeedsPerson: key, bill, rights,
model. Refusal: the model will not answer. Unheard: it broke off while answering, so what it cost is not known.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any

import anthropic
import httpx2

from data.errors import CaddieError, NeedsPerson
from experiments.api_client import for_a_person, reason
from experiments.prices import Price, Tokens, cheapest_life, price_of
from preflight.text import one_line
from proposers.render import Prompt, schema

LONGEST_WAIT_SECONDS = 480.0  # of what a server may ask for


class Wait(CaddieError):
    """The same request may work later; `seconds` is what the server asked for."""

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class Overflow(CaddieError):
    """The prompt does not fit the model's context or the API's size limit."""


class Refusal(CaddieError):
    """The model will not answer this question."""


class BadRequest(NeedsPerson):
    """The API will not take the request as it is."""


class Unheard(CaddieError):
    """The stream broke off; tokens were billed that nobody counted."""

    def __init__(self, wait: Wait) -> None:
        super().__init__(str(wait))
        self.wait = wait


@dataclass(frozen=True)
class Answer:
    """What came back."""

    text: str
    content: list[dict[str, Any]]  # every block as it came, for the next turn of the conversation
    stopped: str
    refusal: str  # its category; empty where there is an answer
    tokens: Tokens
    request_id: str


def life(model: str, minutes_between: float) -> str:
    """The cheaper cache life; where the price is not known, as if reads cost a tenth of input, as mostly they do."""
    return cheapest_life(price_of(model) or Price(input=1.0, output=5.0, read=0.1), minutes_between)


def request(
    model: str, effort: str, output_tokens: int, prompt: Prompt, turns: list[dict[str, Any]], life: str
) -> dict[str, Any]:
    """The body: a system prompt in parts that each end in a cache breakpoint, then the conversation."""
    cached: dict[str, Any] = {"cache_control": {"type": "ephemeral", "ttl": life}} if life else {}
    return {
        "model": model,
        "max_tokens": output_tokens,
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": effort, "format": {"type": "json_schema", "schema": schema()}},
        "system": [{"type": "text", "text": part, **cached} for part in prompt.prefix],
        "messages": alternating([{"role": "user", "content": prompt.question}, *turns]),
    }


def alternating(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Neighbours of one role as one message (an answer that was cut off before its text leaves two questions)."""
    made: list[dict[str, Any]] = []
    for turn in turns:
        if made and made[-1]["role"] == turn["role"]:
            made[-1] = {**turn, "content": f"{made[-1]['content']}\n\n{turn['content']}"}
        else:
            made.append(turn)
    return made


def characters(request: dict[str, Any]) -> int:
    """Of everything that will be counted as prompt."""
    said = sum(len(str(turn["content"])) for turn in request["messages"])
    return sum(len(part["text"]) for part in request["system"]) + said + len(str(request["output_config"]))


def send(client: anthropic.Anthropic, request: dict[str, Any]) -> Answer:
    """Stream one answer to its end."""
    try:
        with client.messages.stream(**request) as stream:
            try:
                message = stream.get_final_message()
                if message.stop_reason is None:  # the SDK takes the end of the connection for the end of the answer
                    raise Unheard(Wait("the answer broke off: the stream ended before the message did"))
                return _answer(message, stream.request_id or "")
            except BROKEN as error:
                wait = Wait(f"the answer broke off: {_said(error)}")
                unbilled = isinstance(error, anthropic.APIStatusError) and not _begun(stream)
                raise (wait if unbilled else Unheard(wait)) from error
    except anthropic.APIStatusError as error:
        raise kind(error) from error
    except anthropic.APITimeoutError as error:  # the request had left: it may be billed
        raise Unheard(Wait(f"the API did not answer: {_said(error)}")) from error
    except (anthropic.APIConnectionError, httpx2.HTTPError) as error:
        told = f"the API cannot be reached: {one_line(reason(error), 160)}"
        if for_a_person(told):
            raise NeedsPerson(f"{told}; SSL_CERT_FILE names the certificates to trust, HTTPS_PROXY a proxy") from error
        raise Wait(told) from error


# What reading a stream may raise: the network, an error event, and events that are not what the SDK's types say.
BROKEN = (
    *(anthropic.APIError, httpx2.HTTPError),
    *(ValueError, AssertionError, AttributeError, IndexError, KeyError, TypeError),
)


def _begun(stream: anthropic.MessageStream[Any]) -> bool:
    """Whether the model had started: an error event in its place costs nothing."""
    try:
        return stream.current_message_snapshot is not None
    except AssertionError:
        return False


def kind(error: anthropic.APIStatusError) -> CaddieError:
    """What a status means for the loop."""
    said = f"the API answers {error.status_code}: {_said(error)}"
    match error.status_code:
        case 401:
            return NeedsPerson(f"{said}; the key is not accepted: export ANTHROPIC_API_KEY=… with one that is")
        case 402:
            return NeedsPerson(f"{said}; add credit at platform.claude.com, then start the same run again")
        case 403:
            return NeedsPerson(f"{said}; the key may not do this: use another key or another --model")
        case 404:
            return NeedsPerson(f"{said}; name a model that your key may use with --model")
        case 400 if "credit" in str(error) or error.type == "billing_error":
            return NeedsPerson(f"{said}; add credit at platform.claude.com, then start the same run again")
        case 413:
            return Overflow(said)
        case 400 if "too long" in str(error) or "context" in str(error):
            return Overflow(said)
        case 408 | 409 | 429:
            return Wait(said, _retry_after(error))
        case status if status >= 500:
            return Wait(said, _retry_after(error))
    return BadRequest(f"{said}; the request itself is at fault, and would be again: try another --model or --effort")


def _retry_after(error: anthropic.APIStatusError) -> float:
    try:
        told = float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return 0.0  # a date, or nonsense: our own pauses do
    return min(max(told, 0.0), LONGEST_WAIT_SECONDS) if isfinite(told) else 0.0


def _said(error: Exception) -> str:
    body = getattr(error, "body", None)
    inner = body.get("error") if isinstance(body, dict) else None
    told = inner.get("message") if isinstance(inner, dict) else None
    return one_line(str(told or error) or type(error).__name__, 160)


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
    """Reading and writing the cache stand beside `input_tokens`, which is the fresh rest."""
    written = usage.cache_creation
    hour = written.ephemeral_1h_input_tokens if written else 0
    five = written.ephemeral_5m_input_tokens if written else usage.cache_creation_input_tokens or 0
    thinking = usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else 0
    read = usage.cache_read_input_tokens or 0
    return Tokens(usage.input_tokens, five, hour, read, usage.output_tokens, thinking or 0)

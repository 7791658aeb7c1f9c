"""The Messages API's rules for the test server: request validation, prompt-cache accounting and stream events."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Any

CHARACTERS_PER_TOKEN = 3.4
MIN_CACHED_TOKENS = 1024
LOOKBACK_BLOCKS = 20
TTL_SECONDS = {"5m": 300.0, "1h": 3600.0}
FIELDS = {"model", "max_tokens", "thinking", "output_config", "system", "messages", "stream", "metadata"}
UNSUPPORTED = {"minLength", "maxLength", "pattern", "minimum", "maximum", "maxItems", "multipleOf"}
ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


@dataclass(frozen=True)
class Reply:
    """The server's reaction to one request: an answer of the model, or a failure before or during it."""

    text: str = ""
    status: int = 200
    message: str = ""  # of an error
    headers: dict[str, str] = field(default_factory=dict)
    stop_reason: str = "end_turn"
    category: str | None = None  # of a refusal
    thinking: str = "Let me think."
    broken_after: int | None = None  # text events until the connection is cut
    error_event: str = ""  # type of an error event at the end of the stream
    odd_event: str = ""  # an event at the start that does not match the SDK's types
    raw: bytes = b""  # sent instead of an answer
    hold: threading.Event | None = None  # the answer waits for it
    latency_seconds: float = 0.0


class Invalid(Exception):
    """A request that the API would refuse."""


def tokens(text: str) -> int:
    return ceil(len(text) / CHARACTERS_PER_TOKEN)


@dataclass
class Cache:
    """Cache entries: the hash of everything before a breakpoint, with the time at which the entry expires."""

    expires: dict[str, float] = field(default_factory=dict)

    def usage(self, request: dict[str, Any], now: float) -> dict[str, Any]:
        """Return the tokens that are read, written by TTL, and fresh; entries that were hit are renewed."""
        blocks = list(blocks_of(request))
        digest = hashlib.sha256(json.dumps([request["model"], request.get("output_config")], sort_keys=True).encode())
        total, prefixes = 0, []
        for text, control in blocks:
            digest.update(text.encode() + b"\0")
            total += tokens(text)
            prefixes.append((digest.hexdigest(), total, control))
        marked = [index for index, (_, _, control) in enumerate(prefixes) if control]
        hit = -1
        for index in marked:
            for earlier in range(index, max(index - LOOKBACK_BLOCKS, -1), -1):
                if self.expires.get(prefixes[earlier][0], 0.0) > now:
                    hit = max(hit, earlier)
                    break
        read, written = (prefixes[hit][1] if hit >= 0 else 0), {"5m": 0, "1h": 0}
        cached = read
        for index in marked:
            name, up_to, control = prefixes[index]
            assert control is not None
            if up_to < MIN_CACHED_TOKENS:
                continue
            if index > hit:
                written[control["ttl"]] += up_to - cached
                cached = up_to
            self.expires[name] = max(self.expires.get(name, 0.0), now + TTL_SECONDS[control["ttl"]])
        return {
            "input_tokens": total - cached,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": sum(written.values()),
            "cache_creation": {
                "ephemeral_5m_input_tokens": written["5m"],
                "ephemeral_1h_input_tokens": written["1h"],
            },
        }


def blocks_of(request: dict[str, Any]) -> Iterator[tuple[str, dict[str, str] | None]]:
    """Yield (text, cache_control with its ttl) of every block, in the order that determines a prefix."""
    system = request.get("system", [])
    parts = [{"type": "text", "text": system}] if isinstance(system, str) else list(system)
    for message in request["messages"]:
        content = message["content"]
        parts += [{"type": "text", "text": content}] if isinstance(content, str) else content
    for part in parts:
        control = part.get("cache_control")
        yield json.dumps({**part, "cache_control": None}), {"ttl": "5m", **control} if control else None


def validate(request: dict[str, Any]) -> None:
    """Raise Invalid, with a message like the API's, for a request that it would refuse."""
    if unknown := request.keys() - FIELDS:
        raise Invalid(f"{sorted(unknown)[0]}: Extra inputs are not permitted")
    for name in ("model", "max_tokens", "messages"):
        if name not in request:
            raise Invalid(f"{name}: Field required")
    if request.get("thinking", {}).get("type") not in (None, "adaptive"):
        raise Invalid("thinking.type: this model thinks adaptively")
    roles = [message["role"] for message in request["messages"]]
    if not roles or roles[0] != "user" or any(a == b for a, b in zip(roles, roles[1:], strict=False)):
        raise Invalid("messages: roles must alternate, the first one user")
    controls = [control for _, control in blocks_of(request) if control]
    if len(controls) > 4:
        raise Invalid(f"A maximum of 4 blocks with cache_control may be provided. Found {len(controls)}.")
    ttls = [control["ttl"] for control in controls]
    if ttls != sorted(ttls, key=lambda ttl: -TTL_SECONDS[ttl]):
        raise Invalid("cache_control: a ttl='1h' block must not come after a ttl='5m' block")
    if any(not part.strip() for part in (json.loads(text).get("text", "x") for text, _ in blocks_of(request))):
        raise Invalid("messages: text content blocks must be non-empty")
    output = request.get("output_config", {})
    if output.get("effort", "high") not in ("low", "medium", "high", "xhigh", "max"):
        raise Invalid("output_config.effort: unknown")
    if "format" in output:
        validate_schema(output["format"]["schema"], "output_config.format.schema")


def validate_schema(schema: dict[str, Any], path: str) -> None:
    """Raise Invalid for a schema that structured output does not take: open objects, or unsupported constraints."""
    if unsupported := schema.keys() & UNSUPPORTED:
        raise Invalid(f"{path}: {sorted(unsupported)[0]} is not supported")
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            raise Invalid(f"{path}: For 'object' type, 'additionalProperties' must be explicitly set to false")
        for name, inner in schema.get("properties", {}).items():
            validate_schema(inner, f"{path}.{name}")
    if "items" in schema:
        validate_schema(schema["items"], f"{path}.items")


def stream_events(request: dict[str, Any], reply: Reply, usage: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (type, fields) of the events of an answer; a broken one ends early."""
    limit = int(request["max_tokens"] * CHARACTERS_PER_TOKEN)
    text, stop = reply.text, reply.stop_reason
    if len(text) > limit:
        text, stop = text[:limit], "max_tokens"
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": request["model"], "content": []}
    message |= {"stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield "message_start", {"message": message}
    yield "ping", {}
    if reply.odd_event:
        yield reply.odd_event, {"index": 7, "delta": {"type": "text_delta"}}
    index = 0
    if reply.thinking and reply.stop_reason != "refusal":
        block = {"type": "thinking", "thinking": "", "signature": ""}
        yield "content_block_start", {"index": 0, "content_block": block}
        yield "content_block_delta", {"index": 0, "delta": {"type": "thinking_delta", "thinking": reply.thinking}}
        yield "content_block_delta", {"index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}}
        yield "content_block_stop", {"index": 0}
        index = 1
    if text:
        yield "content_block_start", {"index": index, "content_block": {"type": "text", "text": ""}}
        for number, start in enumerate(range(0, len(text), 400)):
            if number == reply.broken_after:
                return
            part = {"type": "text_delta", "text": text[start : start + 400]}
            yield "content_block_delta", {"index": index, "delta": part}
        yield "content_block_stop", {"index": index}
    if reply.error_event:
        yield "error", {"error": {"type": reply.error_event, "message": reply.message or reply.error_event}}
        return
    if reply.broken_after is not None:
        return
    details = {"type": "refusal", "category": reply.category, "explanation": None} if stop == "refusal" else None
    thinking = tokens(reply.thinking)
    counts = {"output_tokens": tokens(text) + thinking, "output_tokens_details": {"thinking_tokens": thinking}}
    delta = {"stop_reason": stop, "stop_sequence": None, "stop_details": details}
    yield "message_delta", {"delta": delta, "usage": {**usage, **counts}}
    yield "message_stop", {}

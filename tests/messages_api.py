"""A Messages-API server on loopback: the real protocol to the real SDK, with replies that a test decides.

It streams, validates requests as strictly as the documentation says (no sampling parameters, at most four breakpoints,
structured output with closed schemas), and counts cache tokens from prefixes that really are the same, on a clock that
a test may set. What it does not know is what a model would answer: `answer` does, a function of the request.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import ceil
from typing import Any

KEY = "sk-ant-test-0123456789"
MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")
CHARACTERS_PER_TOKEN = 3.4
LEAST_CACHED_TOKENS = 1024
LOOK_BACK_BLOCKS = 20
LIFE_SECONDS = {"5m": 300.0, "1h": 3600.0}
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
    """What the model, or the machinery before it, does with one request."""

    text: str = ""
    status: int = 200
    message: str = ""  # of an error
    headers: dict[str, str] = field(default_factory=dict)
    stop_reason: str = "end_turn"
    category: str | None = None  # of a refusal
    thinking: str = "Let me think."
    broken_after: int | None = None  # text events until the connection is cut
    error_event: str = ""  # a type of error within the stream, at its end
    odd_event: str = ""  # an event that is not what the SDK's types say, at the start
    raw: bytes = b""  # instead of an answer
    hold: threading.Event | None = None  # the answer waits for it
    latency_seconds: float = 0.0


def error(status: int, message: str = "", **headers: str) -> Reply:
    """An error as the API words it."""
    made = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, message=message or ERRORS[status], headers=made)


class Invalid(Exception):
    """A request that the API would refuse."""


def tokens(text: str) -> int:
    return ceil(len(text) / CHARACTERS_PER_TOKEN)


@dataclass
class Cache:
    """Entries by the hash of everything before a breakpoint, with when they end."""

    ends: dict[str, float] = field(default_factory=dict)

    def usage(self, request: dict[str, Any], now: float) -> dict[str, Any]:
        """Tokens read, written by life, and fresh; entries that were met live on."""
        blocks = list(blocks_of(request))
        digest = hashlib.sha256(json.dumps([request["model"], request.get("output_config")], sort_keys=True).encode())
        total, prefixes = 0, []
        for text, control in blocks:
            digest.update(text.encode() + b"\0")
            total += tokens(text)
            prefixes.append((digest.hexdigest(), total, control))
        marked = [index for index, (_, _, control) in enumerate(prefixes) if control]
        met = -1
        for index in marked:
            for earlier in range(index, max(index - LOOK_BACK_BLOCKS, -1), -1):
                if self.ends.get(prefixes[earlier][0], 0.0) > now:
                    met = max(met, earlier)
                    break
        read, written, at = (prefixes[met][1] if met >= 0 else 0), {"5m": 0, "1h": 0}, 0
        at = read
        for index in marked:
            name, up_to, control = prefixes[index]
            assert control is not None
            if up_to < LEAST_CACHED_TOKENS:
                continue
            if index > met:
                written[control["ttl"]] += up_to - at
                at = up_to
            self.ends[name] = max(self.ends.get(name, 0.0), now + LIFE_SECONDS[control["ttl"]])
        return {
            "input_tokens": total - at,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": sum(written.values()),
            "cache_creation": {
                "ephemeral_5m_input_tokens": written["5m"],
                "ephemeral_1h_input_tokens": written["1h"],
            },
        }


def blocks_of(request: dict[str, Any]):
    """(text, cache_control with its ttl) of every block in the order in which a prefix is made."""
    system = request.get("system", [])
    parts = [{"type": "text", "text": system}] if isinstance(system, str) else list(system)
    for message in request["messages"]:
        content = message["content"]
        parts += [{"type": "text", "text": content}] if isinstance(content, str) else content
    for part in parts:
        control = part.get("cache_control")
        yield json.dumps({**part, "cache_control": None}), {"ttl": "5m", **control} if control else None


def validate(request: dict[str, Any]) -> None:
    """Raises Invalid with a message as the API's."""
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
    lives = [control["ttl"] for control in controls]
    if lives != sorted(lives, key=lambda life: -LIFE_SECONDS[life]):
        raise Invalid("cache_control: a ttl='1h' block must not come after a ttl='5m' block")
    if any(not part.strip() for part in (json.loads(text).get("text", "x") for text, _ in blocks_of(request))):
        raise Invalid("messages: text content blocks must be non-empty")
    output = request.get("output_config", {})
    if output.get("effort", "high") not in ("low", "medium", "high", "xhigh", "max"):
        raise Invalid("output_config.effort: unknown")
    if "format" in output:
        closed(output["format"]["schema"], "output_config.format.schema")


def closed(schema: dict[str, Any], place: str) -> None:
    """Structured output takes objects that say all their fields, and few constraints."""
    if bad := schema.keys() & UNSUPPORTED:
        raise Invalid(f"{place}: {sorted(bad)[0]} is not supported")
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            raise Invalid(f"{place}: For 'object' type, 'additionalProperties' must be explicitly set to false")
        for name, inner in schema.get("properties", {}).items():
            closed(inner, f"{place}.{name}")
    if "items" in schema:
        closed(schema["items"], f"{place}.items")


class MessagesApi(AbstractContextManager["MessagesApi"]):
    """`with MessagesApi(answer) as api:` serves at api.url until the block ends."""

    def __init__(self, answer: Callable[[dict[str, Any]], Reply | str], clock: Callable[[], float] = time.time) -> None:
        self.answer, self.clock = answer, clock
        self.cache = Cache()
        self.requests: list[dict[str, Any]] = []
        self.usages: list[dict[str, Any]] = []
        self.asked = threading.Semaphore(0)  # released once for every request that arrived
        self.lock = threading.Lock()
        self.context_tokens = 1_000_000

        class Handler(_Handler):
            api = self

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.environment = {"ANTHROPIC_BASE_URL": self.url, "ANTHROPIC_API_KEY": KEY}

    def __enter__(self) -> "MessagesApi":
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: MessagesApi

    def log_message(self, *_: object) -> None:
        """Tests have their own words."""

    def do_GET(self) -> None:
        if not self._authorised():
            return
        name = self.path.partition("?")[0].removeprefix("/v1/models").strip("/")
        entries = [
            {"type": "model", "id": one, "display_name": one, "created_at": "2026-01-01T00:00:00Z"} for one in MODELS
        ]
        if not name:
            self._json(200, {"data": entries, "has_more": False})
        elif name in MODELS:
            self._json(200, entries[MODELS.index(name)])
        else:
            self._error(404, f"model: {name}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self._authorised():
            return
        request = json.loads(body)
        with self.api.lock:
            self.api.requests.append(request)
        self.api.asked.release()
        try:
            validate(request)
        except Invalid as problem:
            self._error(400, str(problem))
            return
        if request["model"] not in MODELS:
            self._error(404, f"model: {request['model']}")
            return
        if sum(tokens(text) for text, _ in blocks_of(request)) > self.api.context_tokens:
            self._error(400, "prompt is too long: more tokens than the context window")
            return
        made = self.api.answer(request)
        reply = Reply(made) if isinstance(made, str) else made
        if reply.hold:
            reply.hold.wait(60)
        if reply.latency_seconds:
            threading.Event().wait(reply.latency_seconds)
        try:
            self._reply(request, reply)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the other side was killed, as some tests do

    def _authorised(self) -> bool:
        if KEY not in (self.headers.get("x-api-key"), self.headers.get("authorization", "").removeprefix("Bearer ")):
            self._error(401, "invalid x-api-key")
            return False
        if not self.headers.get("anthropic-version"):
            self._error(400, "anthropic-version: header is required")
            return False
        return True

    def _reply(self, request: dict[str, Any], reply: Reply) -> None:
        if reply.raw:
            self.wfile.write(reply.raw)
            self.close_connection = True
        elif reply.status != 200:
            self._error(reply.status, reply.message, reply.headers)
        else:
            with self.api.lock:
                usage = self.api.cache.usage(request, self.api.clock())
                self.api.usages.append(usage)
            self._stream(request, reply, usage)

    def _stream(self, request: dict[str, Any], reply: Reply, usage: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("request-id", f"req_{len(self.api.requests):06d}")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        limit = int(request["max_tokens"] * CHARACTERS_PER_TOKEN)
        text, stop = reply.text, reply.stop_reason
        if len(text) > limit:
            text, stop = text[:limit], "max_tokens"
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": request["model"], "content": []}
        self._event("message_start", message=message | {"stop_reason": None, "usage": {**usage, "output_tokens": 1}})
        self._event("ping")
        if reply.odd_event:
            self._event(reply.odd_event, index=7, delta={"type": "text_delta"})
        index = 0
        if reply.thinking and reply.stop_reason != "refusal":
            self._event(
                "content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""}
            )
            self._event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": reply.thinking})
            self._event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "c2ln"})
            self._event("content_block_stop", index=0)
            index = 1
        if text:
            self._event("content_block_start", index=index, content_block={"type": "text", "text": ""})
            for number, start in enumerate(range(0, len(text), 400)):
                if number == reply.broken_after:
                    return
                part = {"type": "text_delta", "text": text[start : start + 400]}
                self._event("content_block_delta", index=index, delta=part)
            self._event("content_block_stop", index=index)
        if reply.error_event:
            self._event("error", error={"type": reply.error_event, "message": reply.message or reply.error_event})
            return
        if reply.broken_after is not None:
            return
        details = {"type": "refusal", "category": reply.category, "explanation": None} if stop == "refusal" else None
        thought = tokens(reply.thinking)
        self._event(
            "message_delta",
            delta={"stop_reason": stop, "stop_sequence": None, "stop_details": details},
            usage={
                **usage,
                "output_tokens": tokens(text) + thought,
                "output_tokens_details": {"thinking_tokens": thought},
            },
        )
        self._event("message_stop")

    def _event(self, kind: str, **fields: Any) -> None:
        self.wfile.write(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode())
        self.wfile.flush()

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        kind = ERRORS.get(status, "api_error")
        self._json(status, {"type": "error", "error": {"type": kind, "message": message}}, headers)

    def _json(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, told in {"content-type": "application/json", "request-id": "req_x", **(headers or {})}.items():
            self.send_header(name, told)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def answered(path: str = "", search: str = "", replace: str = "", content: str = "", **fields: Any) -> str:
    """A reply of the schema with one edit; `fields` replace whatever they name."""
    made = {
        "title": "an idea",
        "hypothesis": "because",
        "class": "architecture",
        "idea": "",
        "expected_delta_bpb": -0.01,
        "edits": [{"path": path, "search": search, "replace": replace, "content": content}] if path else [],
        "files": [],
        "lessons": [],
    }
    return json.dumps(made | fields)

"""A Messages API server on loopback: the real protocol for the real SDK, with answers chosen by a test.

It streams, validates requests as strictly as the documentation says (no sampling parameters, at most four breakpoints,
structured output with closed schemas), and counts cached tokens from prefixes that really match, on a clock that a test
may set. Only the model is missing: `answer`, a function of the request, takes its place.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .messages_protocol import ERRORS, Cache, Invalid, Reply, blocks_of, stream_events, tokens, validate

KEY = "sk-ant-test-0123456789"
MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")


def error(status: int, message: str = "", **headers: str) -> Reply:
    """Return an error as the API words it."""
    dashed = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, message=message or ERRORS[status], headers=dashed)


def answered(path: str = "", search: str = "", replace: str = "", content: str = "", **fields: Any) -> str:
    """Return an answer in the reply schema, with one edit if `path` is given; `fields` override its fields."""
    reply = {
        "title": "an idea",
        "hypothesis": "because",
        "class": "architecture",
        "idea": "",
        "expected_delta_bpb": -0.01,
        "edits": [{"path": path, "search": search, "replace": replace, "content": content}] if path else [],
        "files": [],
        "lessons": [],
    }
    return json.dumps(reply | fields)


class MessagesApi(AbstractContextManager["MessagesApi"]):
    """A server that runs while its `with` block does, at `url`; `environment` points the SDK to it."""

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
        """Keep the server's log out of the tests' output."""

    def do_GET(self) -> None:
        if not self._authorized():
            return
        name = self.path.partition("?")[0].removeprefix("/v1/models").strip("/")
        entries = [
            {"type": "model", "id": model, "display_name": model, "created_at": "2026-01-01T00:00:00Z"}
            for model in MODELS
        ]
        if not name:
            self._json(200, {"data": entries, "has_more": False})
        elif name in MODELS:
            self._json(200, entries[MODELS.index(name)])
        else:
            self._error(404, f"model: {name}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self._authorized():
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
        answer = self.api.answer(request)
        reply = Reply(answer) if isinstance(answer, str) else answer
        if reply.hold:
            reply.hold.wait(60)
        if reply.latency_seconds:
            threading.Event().wait(reply.latency_seconds)
        try:
            self._reply(request, reply)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client was killed, as in some tests

    def _authorized(self) -> bool:
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
        for kind, fields in stream_events(request, reply, usage):
            self.wfile.write(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode())
            self.wfile.flush()

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        kind = ERRORS.get(status, "api_error")
        self._json(status, {"type": "error", "error": {"type": kind, "message": message}}, headers)

    def _json(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"content-type": "application/json", "request-id": "req_x", **(headers or {})}.items():
            self.send_header(name, text)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

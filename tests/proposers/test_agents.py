"""Claude Code and Codex as proposers at each isolation level, with a scripted model on loopback.

Skipped if they are not installed (npm install @anthropic-ai/claude-code @openai/codex; node_modules/.bin on PATH).
"""

import json
import shlex
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import token_hex

import pytest
from helpers.proposers.contexts import context
from helpers.tiny_profile import ROOT

from experiments.proposal.options import ProposerOptions
from experiments.proposal.patch import apply
from experiments.proposal.schema import Proposal
from preflight.sandbox.isolation.levels import available_levels
from preflight.source.tree import PLAIN, Source
from proposers.command import Command

TREE = {"base/a.py": Source(PLAIN, b"x = 1\ny = 2\n"), "base/model/b.py": Source(PLAIN, b"z = 3\n")}
pytestmark = pytest.mark.slow
AGENTS = ROOT / "proposers" / "agents"
ANSWER = "Done. " + json.dumps({"title": "seven", "hypothesis": "h", "class": "schedule", "expected_delta_bpb": -0.1})
SHELL = "sed -i 's/y = 2/y = 3/' base/a.py && ls base"


class Model(BaseHTTPRequestHandler):
    """Answers with the scripted step that follows the tool results so far, and in the end with ANSWER."""

    out = Path()
    seen: list[str] = []  # results of the tools in the last request

    def log_message(self, *_):
        pass

    def do_GET(self):  # Codex asks for a WebSocket first, and goes on without it
        self.send_response(404)
        self.send_header("content-length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        events = self.of_openai(request) if self.path.endswith("/responses") else self.of_anthropic(request)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for event in events:
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())

    def of_anthropic(self, request):
        """Yield the events of Anthropic's API: read, edit, run a command."""
        turns = [turn["content"] for turn in request["messages"] if isinstance(turn["content"], list)]
        type(self).seen = [str(block["content"]) for turn in turns for block in turn if block["type"] == "tool_result"]
        file = f"{self.out}/base/a.py"
        steps = [
            ("Read", {"file_path": file}),
            ("Edit", {"file_path": file, "old_string": "x = 1", "new_string": "x = 7"}),
            ("Bash", {"command": SHELL, "description": "look"}),
        ]
        if request.get("tools") and len(self.seen) < len(steps):
            name, arguments = steps[len(self.seen)]
            block = {"type": "tool_use", "id": f"toolu_{token_hex(6)}", "name": name, "input": {}}
            delta, reason = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}, "tool_use"
        else:
            block, delta, reason = {"type": "text", "text": ""}, {"type": "text_delta", "text": ANSWER}, "end_turn"
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": request["model"], "content": []}
        message |= {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
        yield {"type": "message_start", "message": message}
        yield {"type": "content_block_start", "index": 0, "content_block": block}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
        yield {"type": "content_block_stop", "index": 0}
        stop = {"stop_reason": reason, "stop_sequence": None}
        yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 1}}
        yield {"type": "message_stop"}

    def of_openai(self, request):
        """Yield the events of OpenAI's API: one command, in the JavaScript with which Codex 0.171 runs tools."""
        results = [item for item in request["input"] if item["type"] == "custom_tool_call_output"]
        type(self).seen = [str(item["output"]) for item in results]
        if self.seen:
            item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ANSWER}]}
        else:
            command = json.dumps({"cmd": f"sed -i 's/x = 1/x = 7/' base/a.py; {SHELL}"})
            code = f"const done = await tools.exec_command({command}); text(done);"
            item = {"type": "custom_tool_call", "name": "exec", "namespace": "functions", "status": "completed"}
            item |= {"call_id": f"call_{token_hex(6)}", "input": code}
        yield {"type": "response.created", "response": {"id": "resp_1"}}
        yield {"type": "response.output_item.done", "output_index": 0, "item": item}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        yield {"type": "response.completed", "response": {"id": "resp_1", "usage": usage}}


@contextmanager
def model(out: Path):
    handler = type("Handler", (Model,), {"out": out})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", handler
        finally:
            server.shutdown()


@pytest.mark.parametrize("level", [level for level in available_levels() if level != "none"])
@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_an_agent_edits_its_copy(tmp_path, monkeypatch, agent, level):
    if not (installed := shutil.which(agent)):
        pytest.skip(f"{agent} is not installed")  # third-party programs from npm, which are no dependencies
    program = Path(installed).resolve()
    context_at_level = replace(context(TREE, folder=tmp_path / "proposer"), level=level)
    with model(context_at_level.folder / "call1" / "job" / "out") as (address, handler):
        if agent == "claude":
            monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test")
            monkeypatch.setenv("ANTHROPIC_BASE_URL", address)
            show, passed = (AGENTS, program.parent), ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")
        else:
            binary = next(path for path in program.parents[2].rglob("codex") if path.is_file())
            program = tmp_path / "codex"
            program.write_text(f'#!/bin/sh\nexec {binary} -c openai_base_url={address}/v1 "$@"\n')
            program.chmod(0o755)
            monkeypatch.setenv("CODEX_API_KEY", "sk-test")
            show, passed = (AGENTS, binary.parent.parent), ("CODEX_API_KEY",)
        options = ProposerOptions(
            command=shlex.join((str(AGENTS / f"{agent}.sh"), str(program))), show=show, passed=passed
        )
        proposal = Proposal.parse(Command(options).propose(context_at_level))
    assert (proposal.title, proposal.kind) == ("seven", "schedule")
    assert apply(proposal, TREE)["base/a.py"].content == b"x = 7\ny = 3\n", handler.seen
    assert "model" in handler.seen[-1]
    assert "Operation not permitted" not in handler.seen[-1]

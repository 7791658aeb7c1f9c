"""A local Hugging Face endpoint that serves one dataset in the challenge's layout, with simulated network faults."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import numpy as np

from data.corpus import Corpus
from data.shards import HEADER_BYTES

REVISION = "c0ffee" + "0" * 34
STEM = "datasets/datasets/fineweb10B_tiny"


def shard(tokens) -> bytes:
    header = np.zeros(HEADER_BYTES // 4, dtype="<i4")
    header[:3] = 20240520, 1, len(tokens)
    return header.tobytes() + np.asarray(tokens, dtype="<u2").tobytes()


def layout(corpus: Corpus, shard_tokens: int = 30_000) -> dict[str, bytes]:
    """Return the files of a dataset made from a corpus: four training shards, two validation shards (20,481 tokens)."""
    stream = corpus.tokens("train")
    validation = stream[:20_481]
    files = {f"{STEM}/fineweb_val_{i:06d}.bin": shard(part) for i, part in enumerate(np.array_split(validation, 2))}
    for i in range(4):
        tokens = stream[20_481 + i * shard_tokens : 20_481 + (i + 1) * shard_tokens]
        files[f"{STEM}/fineweb_train_{i:06d}.bin"] = shard(tokens)
    files["datasets/tokenizers/tiny.model"] = corpus.tokenizer.read_bytes()
    manifest = {
        "datasets": [
            {"name": "fineweb10B_tiny", "tokenizer_name": "sp_tiny", "stats": {"files_train": 4, "files_val": 2}}
        ],
        "tokenizers": [{"name": "sp_tiny", "model_path": "tokenizers/tiny.model"}],
    }
    files["datasets/manifest.json"] = json.dumps(manifest).encode()
    return files


class Hub(ThreadingHTTPServer):
    """A server of `files`; tests set `cuts` and `held` to simulate faults."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(files)
        self.listed = {path: (len(body), hashlib.sha256(body).hexdigest()) for path, body in files.items()}
        self.cuts: dict[str, int] = {}  # path -> how many more times its body breaks off in the middle
        self.requests: list[tuple[str, str, int]] = []  # path, Range header, bytes sent
        self.held: dict[str, threading.Event] = {}  # path -> wait before the body
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_):
        pass

    def answer(self, body: bytes, kind="application/json"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        query = self.rfile.read(length).decode()
        paths = json.loads(query)["paths"] if query.startswith("{") else parse_qs(query)["paths"]
        entries = []
        for path in paths:
            if path in self.server.listed:
                size, sha256 = self.server.listed[path]
                lfs = {"size": size, "oid": sha256, "pointerSize": 130}
                entries.append({"type": "file", "path": path, "size": size, "oid": "0" * 40, "lfs": lfs})
        self.answer(json.dumps(entries).encode())

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.path.startswith("/go/"):
            self.server.held[self.path.removeprefix("/go/")].set()
            return self.answer(b"{}")
        if self.path.startswith("/api/datasets/org/tiny"):
            return self.answer(json.dumps({"id": "org/tiny", "sha": REVISION}).encode())
        path = self.path.partition(f"/resolve/{REVISION}/")[2]
        body = self.server.files.get(path)
        if body is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        requested = self.headers.get("Range", "")
        start = int(requested.removeprefix("bytes=").split("-")[0]) if requested else 0
        self.send_response(206 if requested else 200)
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("ETag", f'"{self.server.listed[path][1]}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body) - start))
        if requested:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        if path in self.server.held:
            self.server.held[path].wait(30)
        part = body[start:]
        if self.server.cuts.get(path):
            self.server.cuts[path] -= 1
            part = part[: len(part) // 2]
            self.close_connection = True
        self.wfile.write(part)
        self.server.requests.append((path, requested, len(part)))
        return None

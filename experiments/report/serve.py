"""Serves the pages of all runs to this machine's browsers, and renews a run's pages when its ledger has changed."""

import threading
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from common import lock
from common.errors import CaddieError
from common.text import one_line
from experiments.repo.run_name import NAME
from experiments.report.pages import write, write_runs

HOST = "127.0.0.1"
TYPES = (".html", ".js", ".css")


def server(root: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of root's reports on loopback; port 0 takes a free one.

    Raises:
        CaddieError: There are no runs, or the port is taken.
    """
    if not (root / "trials").is_dir():
        raise CaddieError(f"{root / 'trials'}: expected the folder of runs, got none; start a run, or give --root")
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Handler, pages=_Pages(root.resolve())))
    except OSError as error:
        raise CaddieError(f"port {port}: {error.strerror}; choose another with --port") from error


class _Pages:
    """The reports below trials/, each written again if its ledger is not the one that it was written from."""

    def __init__(self, root: Path) -> None:
        self.root, self.trials = root, root / "trials"
        self.written: dict[str, object] = {}  # by run, "" for the index of all: the state before its pages were written
        self.lock = threading.Lock()

    def renew(self, run: str) -> None:
        """Write the pages of a run, or the index of all runs, if they are of an earlier state."""
        folders = [self.trials / run] if run else sorted(path for path in self.trials.iterdir() if path.is_dir())
        with self.lock:
            state = [_state(folder) for folder in folders]
            if self.written.get(run) != state and any(ledger for ledger, *_ in state):
                write(self.root, run) if run else write_runs(self.root)
                self.written[run] = state


def _state(folder: Path) -> tuple[object, ...]:
    """Return what changes with a run: its ledger, the log that SQLite keeps of it, and whether a controller runs."""

    def stamp(name: str) -> tuple[int, int] | None:
        try:
            found = (folder / name).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size

    return stamp("ledger.sqlite"), stamp("ledger.sqlite-wal"), lock.is_held(folder / "lock")


class _Handler(SimpleHTTPRequestHandler):
    """Answers for trials/index.html and trials/RUN/report alone: the rest of a run is nobody's page."""

    def __init__(self, *arguments: Any, pages: _Pages) -> None:
        self.pages = pages
        super().__init__(*arguments, directory=str(pages.trials))

    def send_head(self) -> Any:
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in (HOST, "localhost"):  # a name of another site that was pointed at this machine
            return self.send_error(HTTPStatus.FORBIDDEN)
        if self.headers.get("Sec-Fetch-Site") == "cross-site" and self.headers.get("Sec-Fetch-Mode") != "navigate":
            return self.send_error(HTTPStatus.FORBIDDEN)  # a script of another site, which could read loss curves
        try:
            parts = [part for part in unquote(urlsplit(self.path).path).split("/") if part]
            if {".", ".."} & set(parts) or not (parts in ([], ["index.html"]) or parts[1:2] == ["report"]):
                return self.send_error(HTTPStatus.NOT_FOUND)
            if parts and not parts[-1].endswith(TYPES):
                return self.send_error(HTTPStatus.NOT_FOUND)
            if parts[1:] and not NAME.fullmatch(parts[0]):
                return self.send_error(HTTPStatus.NOT_FOUND)
            self.pages.renew(parts[0] if parts[1:] else "")
        except Exception as error:  # a page must answer, whatever keeps it from being written
            return self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, explain=one_line(str(error), 200))
        return super().send_head()

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Frame-Options", "DENY")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Stay silent: a page asks for itself every few seconds."""

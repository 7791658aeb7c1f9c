"""Results outlive the machine: a thread mirrors the ledger and pushes the run while the next trial runs."""

import sqlite3
import threading
from collections.abc import Callable

from data.errors import CaddieError
from experiments.bench import Bench
from experiments.ledger import Ledger
from experiments.mirror import update
from experiments.settle import undisturbed
from experiments.workspace import Workspace, without_credentials
from preflight.text import one_line

LAST_SECONDS = 120  # that the end of a run waits for its last push


class Pusher:
    """Pushes when woken; a push that fails says so, once for every reason, and is made up for by the next."""

    def __init__(self, bench: Bench, remote: str, say: Callable[[str], None]) -> None:
        self.bench, self.remote, self.say = bench, remote, say
        self.woken, self.over = threading.Event(), threading.Event()
        self.problem = ""
        self.pushed = False
        self.thread = threading.Thread(target=self._work, name="push", daemon=True)
        with undisturbed():  # a thread inherits the mask: Ctrl-C is for the controller's own thread
            self.thread.start()

    def wake(self) -> None:
        """Something has settled."""
        self.woken.set()

    def finish(self) -> None:
        """Push what is left and stop; waits a while, not for ever."""
        self.over.set()
        self.woken.set()
        self.thread.join(LAST_SECONDS)
        if self.thread.is_alive():
            self.say(
                f"push: {without_credentials(self.remote)} has not answered for {LAST_SECONDS} s; the results are here"
            )

    def _work(self) -> None:
        remote = without_credentials(self.remote)
        while not self.over.is_set() or self.woken.is_set():
            self.woken.wait()
            self.woken.clear()
            try:
                self._push()
                self.pushed = True
                if self.problem:
                    self.say(f"push: {remote} answers again")
                self.problem = ""
            except (CaddieError, OSError, sqlite3.Error) as error:
                self.pushed = False
                reason = one_line(without_credentials(str(error)), 300)
                if reason != self.problem:
                    self.say(f"push: {reason}; tried again after the next trial")
                self.problem = reason

    def _push(self) -> None:
        workspace = Workspace(self.bench.workspace.root, self.bench.run, "scratch.push")
        ledger = Ledger(self.bench.ledger.path)  # a connection belongs to its thread
        try:
            if update(workspace, ledger) or not self.pushed:
                workspace.push(self.remote)
        finally:
            ledger.close()

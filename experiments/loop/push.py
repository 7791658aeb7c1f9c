"""Pushes of a run to a git remote while the next trial runs, so that results outlive the machine."""

from collections.abc import Callable

from experiments.ledger.mirror import update
from experiments.ledger.store import Ledger
from experiments.loop.background import BackgroundWorker
from experiments.repo.repository import without_credentials
from experiments.repo.workspace import Workspace
from experiments.run.run import Run


class Pusher(BackgroundWorker):
    """A worker that mirrors the ledger in git and pushes the run; a failed push is made up for by the next."""

    def __init__(self, run: Run, remote: str, say: Callable[[str], None]) -> None:
        self.run, self.remote, self.pushed = run, remote, False
        super().__init__(f"push to {without_credentials(remote)}", self._push, say, without_credentials)

    def _push(self) -> None:
        pushed_before, self.pushed = self.pushed, False
        workspace = Workspace(self.run.workspace.root, self.run.name, "scratch.push")
        ledger = Ledger(self.run.ledger.path)  # a connection belongs to its thread
        try:
            if update(workspace, ledger) or not pushed_before:
                workspace.push(self.remote)
        finally:
            ledger.close()
        self.pushed = True

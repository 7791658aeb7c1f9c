"""Results outlive the machine: the ledger is mirrored and the run pushed while the next trial runs."""

from collections.abc import Callable

from experiments.bench import Bench
from experiments.beside import Beside
from experiments.ledger import Ledger
from experiments.mirror import update
from experiments.workspace import Workspace, without_credentials


class Pusher(Beside):
    """Pushes when woken; a push that fails is made up for by the next."""

    def __init__(self, bench: Bench, remote: str, say: Callable[[str], None]) -> None:
        self.bench, self.remote, self.pushed = bench, remote, False
        super().__init__(f"push to {without_credentials(remote)}", self._push, say, without_credentials)

    def _push(self) -> None:
        done, self.pushed = self.pushed, False
        workspace = Workspace(self.bench.workspace.root, self.bench.run, "scratch.push")
        ledger = Ledger(self.bench.ledger.path)  # a connection belongs to its thread
        try:
            if update(workspace, ledger) or not done:
                workspace.push(self.remote)
        finally:
            ledger.close()
        self.pushed = True

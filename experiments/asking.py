"""Asking for a proposal: generate_next.py as a process of its own, and for whoever waits on a network, a step ahead."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from data.errors import CaddieError, NeedsPerson, NoProposal, ProposalError, ProposerFailed
from experiments import key
from experiments.bench import Bench
from experiments.proposal import Proposal
from preflight.sandbox import cleanup
from preflight.text import one_line

CODE = Path(__file__).resolve().parent.parent  # where generate_next.py is
PROPOSERS = ("auto", "scripted", "search", "random", "command", "anthropic", "merge", "mix")
AHEAD = ("anthropic", "mix")  # wait on a network; the others would take the trial's own processors
PROPOSER_FOLDER = "proposer"  # below the run: what generate_next.py may leave behind
STATUS = {3: NoProposal, 4: NeedsPerson}  # exit statuses of generate_next.py; all others: asked again, it may work
PROPOSE_SECONDS = 3_600
PROPOSAL_BYTES = 1 << 20
ENDED = "ended: "  # a line of its stderr that says why there is no proposal
NOTE = "note: "  # a line of its stderr that a person should see at once


class Asker:
    """Proposals for one bench. `say` hears what the proposer has to tell while it works."""

    def __init__(
        self, bench: Bench, proposer: str, arguments: tuple[str, ...] = (), say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.bench, self.proposer, self.say = bench, proposer, say
        self.command = [sys.executable, str(CODE / "generate_next.py"), "--root", str(bench.workspace.root)]
        self.command += ["--run", bench.run, "--proposer", proposer, "--level", bench.level, *arguments]
        self.process: subprocess.Popen[bytes] | None = None
        self.thread: threading.Thread | None = None
        self.answer: str | CaddieError = ""
        self.stopping = False

    def next(self) -> str:
        """The proposal that was asked for ahead, if it still fits, or a new one; raises what `propose` raises.

        Whatever was written against an older incumbent is asked for again: generate_next.py finds what it has paid
        for in the ledger, and writes it against the new one.
        """
        if self.thread:
            self.thread.join()
            self.thread = None
            if isinstance(self.answer, CaddieError):
                raise self.answer
            if fits(self.answer, self.bench.workspace.best()):
                return self.answer
        return self.propose()

    def ahead(self) -> None:
        """Ask now, in the background, for the proposal after the one that is about to run."""
        if self.proposer in AHEAD and self.thread is None:
            self.answer = ProposerFailed("generate_next.py was not asked")
            self.thread = threading.Thread(target=self._ask_quietly, daemon=True)
            self.thread.start()

    def stop(self) -> None:
        """End what is under way; what it has cost so far is booked when the run goes on."""
        self.stopping = True
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.thread:
            self.thread.join()
            self.thread = None

    def propose(self) -> str:
        """Start generate_next.py and return what it printed; raises NoProposal, NeedsPerson or ProposerFailed."""
        cleanup.clear(self.bench.folder / PROPOSER_FOLDER)
        environment = {**os.environ, "CADDIE_PARENT": str(os.getpid()), "PYTHONIOENCODING": "utf-8:backslashreplace"}
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, pass_fds=key.descriptors()
        )
        if self.stopping:
            self.process.kill()
        told: list[str] = []
        listener = threading.Thread(target=self._listen, args=(told,), daemon=True)
        late = threading.Timer(PROPOSE_SECONDS, self.process.kill)
        with self.process as process:
            listener.start()
            late.start()
            try:
                assert process.stdout is not None
                printed = process.stdout.read(PROPOSAL_BYTES)
                process.stdout.read()
                status = process.wait()
            except BaseException:
                process.kill()
                raise
            finally:
                timed_out = not late.is_alive()
                late.cancel()
                listener.join()
        if timed_out:
            raise ProposerFailed(f"generate_next.py did not answer within {PROPOSE_SECONDS} s")
        if status:
            last = next(reversed(told), f"exit status {status}")  # or what the interpreter says on its way out
            said = next((line for line in reversed(told) if line.startswith(ENDED)), last).removeprefix(ENDED)
            raise STATUS.get(status, ProposerFailed)(f"generate_next.py: {one_line(said.strip(), 600)}")
        return printed.decode("utf-8", "backslashreplace")

    def _ask_quietly(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # they are the main thread's
        try:
            self.answer = self.propose()
        except CaddieError as error:
            self.answer = error
        except (OSError, RuntimeError) as error:
            self.answer = ProposerFailed(f"generate_next.py could not be started: {error}")

    def _listen(self, told: list[str]) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            line = raw.decode("utf-8", "backslashreplace")
            if line.startswith(NOTE):
                self.say(one_line(line.removeprefix(NOTE).strip(), 300))
            elif line.strip():
                told[:] = [*told[-20:], line]


def fits(text: str, parent: str) -> bool:
    """Whether a proposal was written against this commit; what is none at all is for the trial to type."""
    try:
        return Proposal.parse(text).parent == parent
    except ProposalError:
        return True

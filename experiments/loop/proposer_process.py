"""The proposer as a process: generate_next.py is run for each proposal, one trial early if it waits on a network."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from common.errors import CaddieError, ProposalError, ProposerFailed
from common.options import arguments
from common.text import one_line
from experiments import credentials
from experiments.proposal.options import ProposerOptions
from experiments.proposal.process import EXIT_STATUSES, NOTE_PREFIX, REASON_PREFIX
from experiments.proposal.schema import Proposal
from experiments.run.layout import PROPOSER_FOLDER
from experiments.run.run import Run
from preflight.sandbox import cleanup

CODE = Path(__file__).resolve().parents[2]  # the folder of generate_next.py
PREFETCHED = ("anthropic", "mix")  # these wait on a network; the others would use the trial's own processors
PROPOSE_SECONDS = 3_600
PROPOSAL_BYTES = 1 << 20
KEPT_LINES = 20  # of stderr, from which the reason for a failure is taken


class ProposalPrefetcher:
    """The source of one run's proposals.

    Args:
        run: The run.
        options: The options of the proposer.
        say: Called with each note that the proposer has for the user while it works.
    """

    def __init__(self, run: Run, options: ProposerOptions, say: Callable[[str], None] = lambda _: None) -> None:
        self.run, self.proposer, self.say = run, options.name, say
        self.command = [sys.executable, str(CODE / "generate_next.py"), "--root", str(run.workspace.root)]
        self.command += ["--run", run.name, "--level", run.level, *arguments(options)]
        self.process: subprocess.Popen[bytes] | None = None
        self.thread: threading.Thread | None = None
        self.result: str | CaddieError = ""
        self.stopping = False

    def next(self) -> str:
        """Return the prefetched proposal if it still fits, or a new one; raises the errors of `propose`.

        A proposal that was written against an older incumbent is requested again: generate_next.py finds in the ledger
        what has been paid for already and rewrites it for the new incumbent.
        """
        if self.thread:
            self.thread.join()
            self.thread = None
            if isinstance(self.result, CaddieError):
                raise self.result
            if fits(self.result, self.run.workspace.best()):
                return self.result
        return self.propose()

    def prefetch(self) -> None:
        """Request the next proposal in the background, while the current one is about to run."""
        if self.proposer in PREFETCHED and self.thread is None:
            self.result = ProposerFailed("generate_next.py was not started")
            self.thread = threading.Thread(target=self._prefetch, daemon=True)
            self.thread.start()

    def stop(self) -> None:
        """End the request that is running; its cost so far is recorded when the run continues."""
        self.stopping = True
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.thread:
            self.thread.join()
            self.thread = None

    def propose(self) -> str:
        """Run generate_next.py and return its output.

        Raises:
            NoProposal: The proposer has nothing to propose.
            NeedsPerson: Only the user can fix the problem.
            ProposerFailed: Another attempt may succeed.
        """
        cleanup.reap(self.run.folder / PROPOSER_FOLDER)
        environment = {**os.environ, "CADDIE_PARENT": str(os.getpid()), "PYTHONIOENCODING": "utf-8:backslashreplace"}
        self.process = subprocess.Popen(
            self.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            pass_fds=credentials.descriptors(),
        )
        if self.stopping:
            self.process.kill()
        lines: list[str] = []
        listener = threading.Thread(target=self._listen, args=(lines,), daemon=True)
        timer = threading.Timer(PROPOSE_SECONDS, self.process.kill)
        with self.process as process:
            listener.start()
            timer.start()
            try:
                assert process.stdout is not None
                output = process.stdout.read(PROPOSAL_BYTES)
                process.stdout.read()
                status = process.wait()
            except BaseException:
                process.kill()
                raise
            finally:
                timed_out = not timer.is_alive()
                timer.cancel()
                listener.join()
        if timed_out:
            raise ProposerFailed(f"generate_next.py did not answer within {PROPOSE_SECONDS} s")
        if status:
            raise EXIT_STATUSES.get(status, ProposerFailed)(f"generate_next.py: {_reason(lines, status)}")
        return output.decode("utf-8", "backslashreplace")

    def _prefetch(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # for the main thread alone
        try:
            self.result = self.propose()
        except CaddieError as error:
            self.result = error
        except (OSError, RuntimeError) as error:
            self.result = ProposerFailed(f"generate_next.py could not be started: {error}")

    def _listen(self, lines: list[str]) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            line = raw.decode("utf-8", "backslashreplace")
            if line.startswith(NOTE_PREFIX):
                self.say(one_line(line.removeprefix(NOTE_PREFIX).strip(), 300))
            elif line.strip():
                lines[:] = [*lines[-KEPT_LINES:], line]


def _reason(lines: list[str], status: int) -> str:
    """Return the reason that the process gave, else its last line, which may be the interpreter's, else its status."""
    last = next(reversed(lines), f"exit status {status}")
    reason = next((line for line in reversed(lines) if line.startswith(REASON_PREFIX)), last)
    return one_line(reason.removeprefix(REASON_PREFIX).strip(), 600)


def fits(text: str, parent: str) -> bool:
    """Return True if a proposal was written against this commit, or is invalid: the trial reports that."""
    try:
        return Proposal.parse(text).parent == parent
    except ProposalError:
        return True

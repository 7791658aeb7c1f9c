"""The handle of a started job: wait for it, poll it, stop it, or talk to it over its socket."""

import json
import socket
import subprocess

from common.errors import SandboxError
from preflight.sandbox import process_tree
from preflight.sandbox.cleanup import marker
from preflight.sandbox.job import Job, Outcome


class RunningJob:
    """A started job; `socket` is the harness's end of the connection, or the listener until the candidate connects."""

    def __init__(self, job: Job, process: "subprocess.Popen[str]", harness_end: socket.socket | None) -> None:
        self.job, self.process, self.socket = job, process, harness_end
        self.listening = job.ranks > 1
        self._outcome: Outcome | None = None

    def connect(self) -> socket.socket | None:
        """Return the connected socket, waiting for it if need be; None if the job ended before it connected."""
        while self.socket and self.listening:
            self.socket.settimeout(0.2)
            try:
                listener, (self.socket, _) = self.socket, self.socket.accept()
                listener.close()
                self.listening = False
            except TimeoutError:
                if self.process.poll() is not None:
                    return None
        return self.socket

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of the candidate's process tree so far."""
        return process_tree.sample(self.process.pid).cpu_seconds

    def wait(self) -> Outcome:
        """Wait until the job has ended.

        Raises:
            SandboxError: the supervisor exited without a report.
        """
        if self._outcome is None:
            report = "" if self.process.stdout is None or self.process.stdout.closed else self.process.communicate()[0]
            try:
                self._outcome = Outcome(**json.loads(report))
            except (ValueError, TypeError) as error:
                process_tree.kill_marked(marker(self.job.folder))
                raise SandboxError(
                    f"the supervisor exited with status {self.process.returncode} and without a report"
                ) from error
        return self._outcome

    def poll(self, seconds: float = 10.0) -> Outcome | None:
        """Return the outcome if the job exits within `seconds`, else None."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return self.wait()

    def stop(self) -> Outcome:
        """End the job now, whatever it is doing."""
        self.process.terminate()
        return self.wait()

"""Background work next to the trials: a thread that works when it is woken and never blocks a trial."""

import threading
from collections.abc import Callable

from common.text import one_line
from experiments.trial.settle import block_signals

FINISH_SECONDS = 120  # that the end of a run waits for unfinished work


class BackgroundWorker:
    """A thread that does its work when woken; a failure is reported once per reason and retried the next time.

    Args:
        name: The start of every line that the worker reports.
        work: The function to call.
        say: Called with one line for each report.
        format_error: Makes an error's text fit to be shown.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        say: Callable[[str], None],
        format_error: Callable[[str], str] = str,
    ) -> None:
        self.name, self.work, self.say, self.format_error = name, work, say, format_error
        self.wake_event, self.finish_event = threading.Event(), threading.Event()
        self.problem = ""
        self.thread = threading.Thread(target=self._loop, name=name, daemon=True)
        with block_signals():  # a thread inherits the mask: Ctrl-C is for the controller's own thread
            self.thread.start()

    def wake(self) -> None:
        """Start the work; called when a trial has settled."""
        self.wake_event.set()

    def finish(self) -> None:
        """Do the remaining work and stop; gives up waiting after FINISH_SECONDS."""
        self.finish_event.set()
        self.wake_event.set()
        self.thread.join(FINISH_SECONDS)
        if self.thread.is_alive():
            self.say(f"{self.name}: not done after another {FINISH_SECONDS} s; the results are on this machine")

    def _loop(self) -> None:
        while not self.finish_event.is_set() or self.wake_event.is_set():
            self.wake_event.wait()
            self.wake_event.clear()
            try:
                self.work()
                if self.problem:
                    self.say(f"{self.name}: works again")
                self.problem = ""
            except Exception as error:  # any failure is reported, and the trials continue
                reason = one_line(self.format_error(str(error) or type(error).__name__), 300)
                if reason != self.problem:
                    self.say(f"{self.name}: {reason}; will be tried again after the next trial")
                self.problem = reason

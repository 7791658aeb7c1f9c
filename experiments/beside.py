"""Work that goes on beside the trials, in a thread: done when woken, never in their way."""

import threading
from collections.abc import Callable

from experiments.settle import undisturbed
from preflight.text import one_line

LAST_SECONDS = 120  # that the end of a run waits for what is left


class Beside:
    """Does its work when woken; a failure is said, once for every reason, and made up for the next time.

    `what` opens every line it says; `shown` makes an error's text fit for a log.
    """

    def __init__(
        self,
        what: str,
        work: Callable[[], object],
        say: Callable[[str], None],
        shown: Callable[[str], str] = str,
    ) -> None:
        self.what, self.work, self.say, self.shown = what, work, say, shown
        self.woken, self.over = threading.Event(), threading.Event()
        self.problem = ""
        self.thread = threading.Thread(target=self._go, name=what, daemon=True)
        with undisturbed():  # a thread inherits the mask: Ctrl-C is for the controller's own thread
            self.thread.start()

    def wake(self) -> None:
        """Something has settled."""
        self.woken.set()

    def finish(self) -> None:
        """Do what is left and stop; waits a while, not for ever."""
        self.over.set()
        self.woken.set()
        self.thread.join(LAST_SECONDS)
        if self.thread.is_alive():
            self.say(f"{self.what}: not done after {LAST_SECONDS} s more; the results are here")

    def _go(self) -> None:
        while not self.over.is_set() or self.woken.is_set():
            self.woken.wait()
            self.woken.clear()
            try:
                self.work()
                if self.problem:
                    self.say(f"{self.what}: works again")
                self.problem = ""
            except Exception as error:  # whatever it is, it is said, and the trials go on
                reason = one_line(self.shown(str(error) or type(error).__name__), 300)
                if reason != self.problem:
                    self.say(f"{self.what}: {reason}; tried again after the next trial")
                self.problem = reason

"""The referee's side of the scoring protocol: tokens out, losses back, each block only after the losses of the last.

The wire format is the twin of base/protocol.py: one byte of operation, a little-endian uint32 count, then uint16
tokens one way and float32 values in nats the other.
"""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import numpy.typing as npt

from common.errors import Refused
from common.state import State
from data.shards import Tokens
from preflight.candidate.candidate import raise_for_outcome
from preflight.sandbox.job import Job
from preflight.sandbox.running import RunningJob
from preflight.sandbox.start import start

Values = npt.NDArray[np.float32]

OBSERVE, PREDICT, RESET, QUIT = b"O", b"P", b"R", b"Q"
HEADER = struct.Struct("<cI")
GRACE_SECONDS = 5.0  # for an answer beyond its limit: the job's own limit, which has the numbers, should fire first
MIN_LOSS_NATS = -1e-4  # rounding may go slightly below 0; a lower loss would be a probability above 1


class ScorerDisconnected(Refused):
    """Raised when the scorer has closed its end of the socket; the exit of its process tells why."""

    def __init__(self, message: str) -> None:
        super().__init__(State.CRASH, message)


class ScorerClient:
    """A client of one scorer process over a socket; checks every reply before it is used.

    Args:
        connection: A connected stream socket; the client sets its timeout.
        vocab_size: Length of a predicted distribution.
        timeout_seconds: Most time that one reply may take.
        phase: Name of the phase in messages and in the state of a timeout.

    Every request raises Refused where the scorer answers late, with a wrong frame, with values that are not finite or
    with negative losses, and ScorerDisconnected where it hangs up.

    Example:
        >>> scorer = ScorerClient(connection, vocab_size=1024, timeout_seconds=20.0)
        >>> scorer.reset()
        >>> losses = scorer.observe(tokens)  # (n,), nats
        >>> distribution = scorer.predict()  # (1024,), log-probabilities of the next token
    """

    def __init__(
        self, connection: socket.socket, vocab_size: int, timeout_seconds: float, phase: str = "score"
    ) -> None:
        self.connection, self.vocab_size, self.phase = connection, vocab_size, phase
        connection.settimeout(timeout_seconds)

    def observe(self, tokens: Tokens) -> Values:
        """Return the losses of `tokens` in nats, shape (n,), each given every token since the last reset."""
        losses = self._request(OBSERVE, len(tokens), tokens.astype("<u2").tobytes())
        if len(losses) and float(losses.min()) < MIN_LOSS_NATS:
            raise Refused(State.DISHONEST, f"got a loss of {losses.min():.6g} nats, expected none below 0")
        return losses

    def predict(self) -> Values:
        """Return the log-probabilities of the next token, shape (V,)."""
        return self._request(PREDICT, self.vocab_size)

    def reset(self) -> None:
        self._request(RESET, 0)

    def quit(self) -> None:
        with suppress(OSError):  # it may have exited already: everything that counts has been answered
            self.connection.sendall(HEADER.pack(QUIT, 0))

    def _request(self, operation: bytes, expected: int, payload: bytes = b"") -> Values:
        started = time.monotonic()
        try:
            self.connection.sendall(HEADER.pack(operation, len(payload) // 2) + payload)
            answered, count = HEADER.unpack(self._receive(HEADER.size))
            if answered != operation or count != expected:
                answer = f"frame {answered!r} with {count} values"
                raise Refused(State.CRASH, f"score answered {answer}, expected {operation!r} with {expected}")
            values = np.frombuffer(self._receive(4 * count), dtype="<f4")
        except TimeoutError as error:
            used, limit = time.monotonic() - started, self.connection.gettimeout() or 0.0
            message = f"{self.phase}: got no answer within {limit:g} s, expected one"
            spent = {f"{self.phase}_answer_wall_seconds": (used, limit)}
            raise Refused(State.timeout(self.phase), message, spent=spent) from error
        except OSError as error:
            raise ScorerDisconnected(f"score hung up: {error}") from error
        if not np.isfinite(values).all() and operation == OBSERVE:
            bad = int((~np.isfinite(values)).sum())
            raise Refused(State.NAN, f"{self.phase}: {bad} losses that are not finite, expected none")
        return values

    def _receive(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self.connection.recv(min(count - len(parts), 1 << 20))
            if not part:
                raise ScorerDisconnected(f"score hung up after {len(parts)} of {count} bytes")
            parts += part
        return bytes(parts)


def first_pass(
    scorer: ScorerClient,
    tokens: Tokens,
    rng: np.random.Generator,
    largest_block: int,
    after_block: Callable[[Values], None] = lambda _: None,
) -> Values:
    """Score all tokens in blocks of random size; return the losses that make up the score, shape (n,).

    `after_block` is called with the losses of each block.
    """
    scorer.reset()
    losses, start = [], 0
    while start < len(tokens):
        size = int(rng.integers(largest_block // 2, largest_block + 1))
        losses.append(scorer.observe(tokens[start : start + size]))
        start += size
        after_block(losses[-1])
    return np.concatenate(losses)


@contextmanager
def scoring_session(
    job: Job, vocab_size: int, timeout_seconds: float, quote_log: bool = False, phase: str = "score"
) -> Iterator[tuple[ScorerClient, RunningJob]]:
    """Start a scoring job and connect to it; the job has ended when the context exits.

    The output of a job that scores held-out text is never quoted: it could carry the text to the next proposal.
    """
    with start(job, with_socket=True) as running:
        try:
            connection = running.connect()
            if connection is None:
                raise ScorerDisconnected("score ended before it connected")
            scorer = ScorerClient(connection, vocab_size, timeout_seconds + GRACE_SECONDS, phase)
            yield scorer, running
            scorer.quit()
        except ScorerDisconnected:
            if outcome := running.poll():
                raise_for_outcome(job, outcome, phase, quote_log)
            raise

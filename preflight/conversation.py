"""The referee's side of the scoring conversation: frames out, losses back, nothing sent ahead.

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

from data.errors import Refused
from data.shards import Tokens
from data.state import State
from preflight.phases import require
from preflight.sandbox import Job, Running, start

Values = npt.NDArray[np.float32]

OBSERVE, PREDICT, RESET, QUIT = b"O", b"P", b"R", b"Q"
HEADER = struct.Struct("<cI")
GRACE_SECONDS = 5.0  # that an answer has beyond its limit, where the job's own limit, which has the numbers, ends it
LEAST_LOSS = -1e-4  # nats; less than nothing is no probability, whatever the rounding


class HungUp(Refused):
    """The scorer's end of the socket is gone; how its process died says why."""

    def __init__(self, message: str) -> None:
        super().__init__(State.CRASH, message)


class Conversation:
    """One scorer at the other end of a socket; whatever it sends is checked before it is believed."""

    def __init__(
        self, connection: socket.socket, vocab_size: int, timeout_seconds: float, phase: str = "score"
    ) -> None:
        self.connection, self.vocab_size, self.phase = connection, vocab_size, phase
        connection.settimeout(timeout_seconds)

    def observe(self, tokens: Tokens) -> Values:
        """Losses in nats of `tokens`, shape (n,), each given every token since the last reset."""
        losses = self._ask(OBSERVE, len(tokens), tokens.astype("<u2").tobytes())
        if len(losses) and float(losses.min()) < LEAST_LOSS:
            raise Refused(State.DISHONEST, f"got a loss of {losses.min():.6g} nats, expected none below 0")
        return losses

    def predict(self) -> Values:
        """Log-probabilities of the next token, shape (V,)."""
        return self._ask(PREDICT, self.vocab_size)

    def reset(self) -> None:
        self._ask(RESET, 0)

    def quit(self) -> None:
        with suppress(OSError):  # it may have gone already: all that counts has been answered
            self.connection.sendall(HEADER.pack(QUIT, 0))

    def _ask(self, operation: bytes, expected: int, payload: bytes = b"") -> Values:
        asked = time.monotonic()
        try:
            self.connection.sendall(HEADER.pack(operation, len(payload) // 2) + payload)
            head = self._receive(HEADER.size)
            found, count = HEADER.unpack(head)
            if found != operation or count != expected:
                answer = f"frame {found!r} with {count} values"
                raise Refused(State.CRASH, f"score answered {answer}, expected {operation!r} with {expected}")
            values = np.frombuffer(self._receive(4 * count), dtype="<f4")
        except TimeoutError as error:
            used, limit = time.monotonic() - asked, self.connection.gettimeout() or 0.0
            message = f"{self.phase}: got no answer within {limit:g} s, expected one"
            spent = {f"{self.phase}_answer_wall_seconds": (used, limit)}
            raise Refused(State.timeout(self.phase), message, spent=spent) from error
        except OSError as error:
            raise HungUp(f"score hung up: {error}") from error
        if not np.isfinite(values).all() and operation == OBSERVE:
            raise Refused(State.NAN, f"got {int((~np.isfinite(values)).sum())} losses that are no number")
        return values

    def _receive(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self.connection.recv(min(count - len(parts), 1 << 20))
            if not part:
                raise HungUp(f"score hung up after {len(parts)} of {count} bytes")
            parts += part
        return bytes(parts)


def first_pass(
    conversation: Conversation,
    tokens: Tokens,
    rng: np.random.Generator,
    largest_block: int,
    after_block: Callable[[Values], None] = lambda _: None,
) -> Values:
    """All tokens in blocks of random size: the losses that are the score, shape (n,). `after_block` sees each."""
    conversation.reset()
    losses, start = [], 0
    while start < len(tokens):
        size = int(rng.integers(largest_block // 2, largest_block + 1))
        losses.append(conversation.observe(tokens[start : start + size]))
        start += size
        after_block(losses[-1])
    return np.concatenate(losses)


@contextmanager
def hold(
    job: Job, vocab_size: int, timeout_seconds: float, quote_log: bool = False, phase: str = "score"
) -> Iterator[tuple[Conversation, Running]]:
    """A conversation with a scoring job, which is over when the context is left.

    What a scorer of held-out text prints is never quoted: it could carry the text to the next proposal.
    """
    with start(job, converse=True) as running:
        try:
            connection = running.connect()
            if connection is None:
                raise HungUp("score ended before it connected")
            conversation = Conversation(connection, vocab_size, timeout_seconds + GRACE_SECONDS, phase)
            yield conversation, running
            conversation.quit()
        except HungUp:
            if outcome := running.settle():
                require(job, outcome, phase, quote_log)
            raise

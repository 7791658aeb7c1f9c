"""The wire format of the scoring protocol and the exit codes of the phases (locked).

A frame is one byte of operation, a little-endian uint32 count, then `count` values: uint16 tokens to the scorer,
float32 natural-log values back. The referee has a copy of this file; a round-trip test keeps the two equal.
"""

import socket
import struct

import numpy as np

OBSERVE, PREDICT, RESET, QUIT = b"O", b"P", b"R", b"Q"
HEADER = struct.Struct("<cI")
EXIT_NOT_FINITE = 3  # the training loss stopped being a number


def connect(address: str) -> socket.socket:
    """`fd:N` is an inherited socket, `tcp:N` a port of this machine, anything else the path of a Unix socket."""
    if address.startswith("fd:"):
        return socket.socket(fileno=int(address[3:]))
    if address.startswith("tcp:"):
        return socket.create_connection(("127.0.0.1", int(address[4:])))
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(address)
    return connection


def receive(connection: socket.socket) -> tuple[bytes, np.ndarray]:
    """One frame from the referee: its operation and its uint16 tokens, shape (count,)."""
    operation, count = HEADER.unpack(receive_exactly(connection, HEADER.size))
    tokens = receive_exactly(connection, 2 * count) if operation == OBSERVE else b""
    return operation, np.frombuffer(tokens, dtype="<u2")


def reply(connection: socket.socket, operation: bytes, values: np.ndarray) -> None:
    """Answer a frame with float32 values, shape (count,)."""
    connection.sendall(HEADER.pack(operation, len(values)) + values.astype("<f4").tobytes())


def receive_exactly(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise EOFError(f"expected {count} bytes, the referee hung up after {len(parts)}")
        parts += part
    return bytes(parts)

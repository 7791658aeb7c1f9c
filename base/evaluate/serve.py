"""The scorer's side of the scoring protocol: rank 0 holds the socket, the other ranks follow."""

import numpy as np
import torch

from base import protocol
from base.evaluate.scorer import Scorer
from base.runtime import Runtime

OPERATIONS = (protocol.OBSERVE, protocol.PREDICT, protocol.RESET, protocol.QUIT)


def serve(scorer: Scorer, runtime: Runtime, connection) -> None:
    """Answer frames until the referee quits; every rank sees every frame, rank 0 alone has a connection."""
    while True:
        operation, tokens = protocol.receive(connection) if connection else (protocol.QUIT, np.zeros(0))
        operation, tokens = broadcast_frame(runtime, operation, tokens)
        if operation == protocol.OBSERVE:
            values = scorer.observe(tokens)
        elif operation == protocol.PREDICT:
            values = scorer.predict()
        elif operation == protocol.RESET:
            scorer.reset()
            values = np.zeros(0)
        elif operation == protocol.QUIT:
            return
        else:
            raise ValueError(f"expected one of the frames {OPERATIONS}, got {operation!r}")
        if connection:
            protocol.reply(connection, operation, values)


def broadcast_frame(runtime: Runtime, operation: bytes, tokens: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Return rank 0's frame on every rank."""
    if runtime.world == 1:
        return operation, tokens
    head = runtime.broadcast_(torch.tensor([operation[0], len(tokens)], device=runtime.device)).tolist()
    body = torch.zeros(head[1], dtype=torch.int64, device=runtime.device)
    if runtime.rank == 0:
        body.copy_(torch.from_numpy(tokens.astype(np.int64)))
    return bytes([head[0]]), runtime.broadcast_(body).cpu().numpy()

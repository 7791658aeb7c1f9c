"""Fixtures of the scoring tests."""

import socket
import threading

import numpy as np
import pytest
from helpers.scorers import VOCAB, serve

from preflight.scoring.audit import audit
from preflight.scoring.protocol import ScorerClient, first_pass


@pytest.fixture
def score_and_audit():
    """Run both passes with a scorer in a thread; return the claimed losses and the audit's result."""
    ends = []

    def run(scorer, tokens, probes=200, seed=1, **options):
        client_end, server_end = socket.socketpair()
        ends.extend((client_end, server_end))
        thread = threading.Thread(target=serve, args=(scorer, server_end))
        thread.start()
        client = ScorerClient(client_end, VOCAB, 20.0)
        try:
            rng = np.random.default_rng(seed)
            losses = first_pass(client, tokens, rng, 500)
            return losses, audit(client, tokens, losses, rng, probes, **options)
        finally:
            client.quit()
            thread.join()

    yield run
    for end in ends:
        end.close()


@pytest.fixture
def tokens():
    return np.random.default_rng(2).integers(0, VOCAB, 4000).astype(np.uint16)

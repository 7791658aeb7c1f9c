"""Scorers in the test's own process, some of which tamper with their losses, and the server that speaks for them."""

import numpy as np

from base import protocol

VOCAB = 64


class Bigram:
    """A bigram model that scores correctly; `tamper` changes a loss, given how many tokens have been seen."""

    def __init__(self, tamper=lambda loss, seen: loss):
        table = np.random.default_rng(0).normal(size=(VOCAB, VOCAB))
        self.table = table - np.log(np.exp(table).sum(axis=1, keepdims=True))
        self.tamper, self.last, self.seen = tamper, 0, 0

    def reset(self):
        self.last, self.seen = 0, 0

    def observe(self, tokens):
        losses = []
        for token in tokens.tolist():
            losses.append(self.tamper(-self.table[self.last, token], self.seen))
            self.last, self.seen = token, self.seen + 1
        return np.array(losses)

    def predict(self):
        return self.table[self.last]


def serve(scorer, connection):
    """Answer the referee's requests until it quits."""
    while True:
        operation, tokens = protocol.receive(connection)
        if operation == protocol.QUIT:
            return
        values = np.zeros(0)
        if operation == protocol.OBSERVE:
            values = scorer.observe(tokens)
        elif operation == protocol.PREDICT:
            values = scorer.predict()
        else:
            scorer.reset()
        protocol.reply(connection, operation, values)

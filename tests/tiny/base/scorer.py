"""observe and predict over the bigram table."""

import numpy as np


class Scorer:
    def __init__(self, table):
        self.table = table
        self.reset()

    def reset(self):
        self.last = None
        self.seen = 0

    def observe(self, tokens):
        tokens = tokens.astype(np.int64)
        before = np.concatenate([[1 if self.last is None else self.last], tokens[:-1]])
        losses = -self.table[before, tokens]
        self.last = int(tokens[-1])
        self.seen += len(tokens)
        return losses

    def predict(self):
        return self.table[1 if self.last is None else self.last]

"""Bigram counts, learned from one batch of training text a step."""

import numpy as np

VOCAB = 1024


def train(knobs, stream):
    draw = np.random.default_rng(knobs["seed"])
    counts = (draw.random((VOCAB, VOCAB)) < 0.01).astype(np.float32)
    order = draw.permutation(len(stream) // knobs["batch_tokens"])
    for step in range(knobs["iterations"]):
        start = order[step % len(order)] * knobs["batch_tokens"]
        batch = stream[start : start + knobs["batch_tokens"] + 1].astype(np.int64)
        for _ in range(knobs["passes"]):
            np.add.at(counts, (batch[:-1], batch[1:]), 1.0)
    return counts


def log_table(knobs, counts):
    unigram = counts.sum(axis=0) + 0.1
    prior = unigram / unigram.sum()
    table = counts + 1024 * knobs["smoothing"] * prior * 0.1
    return np.log(table / table.sum(axis=1, keepdims=True)).astype(np.float32)

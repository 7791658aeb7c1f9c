"""Bits per byte for the log line (locked); the score that counts is the referee's, from its own table."""

import math

import numpy as np
import sentencepiece


def target_bytes(tokenizer: str, tokens: np.ndarray) -> int:
    """UTF-8 bytes of tokens[1:] by the challenge's rule: a leading space counts unless it follows a boundary."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    base, space, boundary = (np.zeros(model.get_piece_size(), dtype=np.int64) for _ in range(3))
    for token in range(model.get_piece_size()):
        if model.is_control(token) or model.is_unknown(token) or model.is_unused(token):
            boundary[token] = 1
        elif model.is_byte(token):
            base[token] = 1
        else:
            piece = model.id_to_piece(token)
            space[token] = piece.startswith("▁")
            base[token] = len(piece.removeprefix("▁").encode("utf-8"))
    return int(base[tokens[1:]].sum() + (space[tokens[1:]] * (1 - boundary[tokens[:-1]])).sum())


def bits_per_byte(total_nats: float, total_bytes: int) -> float:
    return total_nats / (math.log(2.0) * total_bytes)

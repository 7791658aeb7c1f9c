"""How many bytes of text each token stands for: the denominator of every score in caddie.

The rule is the challenge's (README and `build_sentencepiece_luts` of the baseline): a piece counts its UTF-8
bytes, a leading "▁" counts as one byte of space unless the previous token is a boundary, a byte token counts
one, control tokens count none and are boundaries.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sentencepiece

from data.errors import DataError
from data.shards import Tokens

BYTE_OFFSET = 4
COUNTED_AT_ONCE = 1 << 22
SPACE = "\u2581"


@dataclass(frozen=True)
class ByteTable:
    """Per token id: bytes of its text, whether a space precedes it, whether it is a boundary."""

    base: npt.NDArray[np.int64]  # (V,) bytes without the leading space
    leading_space: npt.NDArray[np.bool_]  # (V,)
    boundary: npt.NDArray[np.bool_]  # (V,) control, unknown, unused

    @classmethod
    def from_tokenizer(cls, path: Path) -> "ByteTable":
        """Read the table off a SentencePiece model, or off the challenge's JSON for pure bytes."""
        if pure_bytes(path):
            return cls.of_bytes()
        try:
            model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise DataError(f"{path}: expected a SentencePiece model, found {kind_of(path)}") from error
        size = model.get_piece_size()
        base = np.zeros(size, dtype=np.int64)
        leading_space = np.zeros(size, dtype=bool)
        boundary = np.zeros(size, dtype=bool)
        for token in range(size):
            if model.is_control(token) or model.is_unknown(token) or model.is_unused(token):
                boundary[token] = True
            elif model.is_byte(token):
                base[token] = 1
            else:
                piece = model.id_to_piece(token)
                leading_space[token] = piece.startswith(SPACE)
                base[token] = len(piece.removeprefix(SPACE).encode("utf-8"))
        return cls(base, leading_space, boundary)

    @classmethod
    def of_bytes(cls) -> "ByteTable":
        """Variant byte260: pad, bos, eos, unk, then one token for every byte."""
        boundary = np.arange(BYTE_OFFSET + 256) < BYTE_OFFSET
        return cls((~boundary).astype(np.int64), np.zeros_like(boundary), boundary)

    @property
    def vocab_size(self) -> int:
        return len(self.base)

    def target_bytes(self, tokens: Tokens) -> npt.NDArray[np.int64]:
        """Bytes of tokens[1:], each given the token before it: shape (len(tokens) - 1,)."""
        previous, targets = tokens[:-1], tokens[1:]
        return self.base[targets] + (self.leading_space[targets] & ~self.boundary[previous])

    def count(self, tokens: Tokens, previous: int | None) -> int:
        """Bytes of one shard of a stream, after the token that ended the shard before it."""
        total = 0
        for start in range(0, len(tokens), COUNTED_AT_ONCE):
            part = tokens[start : start + COUNTED_AT_ONCE]
            head = part[:0] if previous is None else np.array([previous], dtype=np.uint16)
            total += int(self.target_bytes(np.concatenate([head, part])).sum())
            previous = int(part[-1])
        return total


def bits_per_byte(total_nats: float, total_bytes: int) -> float:
    """val_bpb = sum of nats / (ln 2 * bytes of text)."""
    return total_nats / (float(np.log(2.0)) * total_bytes)


def pure_bytes(path: Path) -> bool:
    """Whether a file is the challenge's JSON that says: tokens are bytes."""
    if not path.is_file() or path.read_bytes()[:1] != b"{":
        return False
    try:
        return "byte" in str(json.loads(path.read_bytes()).get("tokenizer_type"))
    except (ValueError, RecursionError):
        return False


def kind_of(path: Path) -> str:
    """What a file that is no SentencePiece model may be, for a message."""
    if not path.is_file():
        return "a folder" if path.is_dir() else "no such file"
    head = path.read_bytes()[:4096].lstrip()
    if head.startswith(b"{"):
        return "JSON (a tokenizer.json of Hugging Face cannot be read; train one, or give its tokenizer.model)"
    return "text" if head.isascii() else "another format"

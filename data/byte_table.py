"""The number of text bytes that each token stands for: the denominator of every score in caddie.

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

from common.errors import DataError
from data.shards import Tokens

BYTE_OFFSET = 4
CHUNK_TOKENS = 1 << 22
SPACE = "\u2581"


@dataclass(frozen=True)
class ByteTable:
    """Per token id: the bytes of its text, whether a space precedes it, whether it is a boundary.

    Example:
        >>> table = ByteTable.from_tokenizer(corpus.tokenizer)
        >>> bits_per_byte(total_nats, table.target_bytes(tokens).sum())
    """

    base: npt.NDArray[np.int64]  # (V,) bytes without the leading space
    leading_space: npt.NDArray[np.bool_]  # (V,)
    boundary: npt.NDArray[np.bool_]  # (V,) control, unknown, unused

    @classmethod
    def from_tokenizer(cls, path: Path) -> "ByteTable":
        """Derive the table from a SentencePiece model, or from the challenge's JSON for pure bytes.

        Raises:
            DataError: The file is neither.
        """
        if is_pure_byte(path):
            return cls.pure_byte()
        try:
            model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise DataError(f"{path}: expected a SentencePiece model, found {guess_format(path)}") from error
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
    def pure_byte(cls) -> "ByteTable":
        """Return the table of variant byte260: pad, bos, eos, unk, then one token for every byte."""
        boundary = np.arange(BYTE_OFFSET + 256) < BYTE_OFFSET
        return cls((~boundary).astype(np.int64), np.zeros_like(boundary), boundary)

    @property
    def vocab_size(self) -> int:
        return len(self.base)

    def target_bytes(self, tokens: Tokens) -> npt.NDArray[np.int64]:
        """Return the bytes of each token in tokens[1:], given the token before it: shape (len(tokens) - 1,)."""
        previous, targets = tokens[:-1], tokens[1:]
        return self.base[targets] + (self.leading_space[targets] & ~self.boundary[previous])

    def count_bytes(self, tokens: Tokens, previous: int | None) -> int:
        """Count the bytes of one shard of a stream; `previous` is the last token of the shard before it."""
        total = 0
        for start in range(0, len(tokens), CHUNK_TOKENS):
            part = tokens[start : start + CHUNK_TOKENS]
            head = part[:0] if previous is None else np.array([previous], dtype=np.uint16)
            total += int(self.target_bytes(np.concatenate([head, part])).sum())
            previous = int(part[-1])
        return total


def bits_per_byte(total_nats: float, total_bytes: int) -> float:
    """Return val_bpb = sum of nats / (ln 2 * bytes of text)."""
    return total_nats / (float(np.log(2.0)) * total_bytes)


def is_pure_byte(path: Path) -> bool:
    """Return True for the challenge's JSON that declares tokens to be bytes."""
    if not path.is_file() or path.read_bytes()[:1] != b"{":
        return False
    try:
        return "byte" in str(json.loads(path.read_bytes()).get("tokenizer_type"))
    except (ValueError, RecursionError):
        return False


def guess_format(path: Path) -> str:
    """Guess the format of a file that is not a SentencePiece model, for an error message."""
    if not path.is_file():
        return "a folder" if path.is_dir() else "no such file"
    head = path.read_bytes()[:4096].lstrip()
    if head.startswith(b"{"):
        return "JSON (a Hugging Face tokenizer.json is not supported; train a tokenizer, or pass its tokenizer.model)"
    return "text" if head.isascii() else "another format"

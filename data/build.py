"""Build a corpus from documents: assign whole documents to splits, write tokenizer, shards and manifest."""

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import sentencepiece

from common.errors import DataError
from data.byte_table import ByteTable, guess_format
from data.corpus import SPLITS, Manifest, file_sha256, write_manifest
from data.shards import write_shard

HELD_OUT = {"validation": 0.05, "dev": 0.05}  # shares of the text, by whole documents
SHARD_TOKENS = 100_000_000  # as the challenge cuts its stream
MAX_PIECES = 1 << 16
# Of all tokens, and of all bytes: text that the tokenizer cannot encode counts no bytes and would flatter every score
MAX_UNKNOWN_SHARE = 0.001

Documents = dict[str, str]  # name -> text


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` as a whole when the block succeeds, and is deleted otherwise.

    Raises:
        DataError: `folder` holds other files than a corpus.
    """
    if folder.exists() and not (folder / "manifest.json").exists() and any(folder.iterdir()):
        raise DataError(
            f"{folder}: expected no folder, an empty one or a corpus, found other files; choose another place"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        work = Path(scratch) / folder.name
        work.mkdir()
        yield work
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)


def split_documents(documents: Documents) -> dict[str, list[str]]:
    """Return the names for each split: in the order of their hashed names, documents fill validation, dev, then train.

    Raises:
        DataError: No document is left for training.
    """
    total = sum(len(text.encode()) for text in documents.values())
    ordered = sorted(documents, key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for split, share in HELD_OUT.items():
        size = 0
        while size < share * total and ordered:
            name = ordered.pop(0)
            splits[split].append(name)
            size += len(documents[name].encode())
    splits["train"] = ordered
    if not ordered:
        raise DataError(f"got {len(documents)} documents, expected enough for three splits; cut the text into more")
    return splits


def write_corpus(
    folder: Path, variant: str, documents: Documents, tokenizer: bytes, source: str, readable: bool
) -> None:
    """Write the tokenizer, shards and manifest for a set of documents into an empty folder.

    Args:
        folder: Where the corpus goes.
        variant: Its name.
        documents: Name -> text.
        tokenizer: A serialized SentencePiece model.
        source: Where the text came from.
        readable: True if trials can read the text on this machine.

    Raises:
        DataError: The tokenizer cannot encode the text, or there are too few documents for three splits.
    """
    path = folder / "tokenizer.model"
    path.write_bytes(tokenizer)
    table, model = ByteTable.from_tokenizer(path), load_tokenizer(path)
    tokens, text_bytes, unknown, unknown_bytes = {}, {}, 0, 0
    for split, names in split_documents(documents).items():
        (folder / split).mkdir()
        kind = "train" if split == "train" else "val"
        stream: list[int] = []
        for name in names:  # BOS before each document, no EOS: the challenge's stream
            encoded = model.encode(documents[name])
            stream += [model.bos_id(), *encoded]
            if count := encoded.count(model.unk_id()):
                unknown, unknown_bytes = unknown + count, unknown_bytes + _unknown_bytes(model, documents[name])
        values = np.array(stream, dtype=np.uint16)
        for number, start in enumerate(range(0, len(values), SHARD_TOKENS)):
            shard = values[start : start + SHARD_TOKENS]
            write_shard(folder / split / f"fineweb_{kind}_{number:06d}.bin", shard)
        tokens[split] = len(values)
        text_bytes[split] = int(table.target_bytes(values).sum())
    total_bytes = sum(text_bytes.values())
    if unknown > MAX_UNKNOWN_SHARE * sum(tokens.values()) or unknown_bytes > MAX_UNKNOWN_SHARE * total_bytes:
        share = f"{unknown:,} of {sum(tokens.values()):,} tokens, {unknown_bytes:,} bytes of text, are unknown to it"
        raise DataError(
            f"tokenizer: {share}, expected at most {MAX_UNKNOWN_SHARE:.1%}; one with byte fallback has none"
        )
    sha256 = {str(path.relative_to(folder)): file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    write_manifest(folder, Manifest(variant, source, table.vocab_size, tokens, text_bytes, sha256, readable, unknown))


def _unknown_bytes(model: sentencepiece.SentencePieceProcessor, text: str) -> int:
    """Count the bytes of a text that unknown tokens stand for: one token may stand for a whole run of characters."""
    pieces = zip(model.encode(text, out_type=str), model.encode(text), strict=True)
    return sum(len(piece.encode()) for piece, token in pieces if token == model.unk_id())


def load_tokenizer(path: Path) -> sentencepiece.SentencePieceProcessor:
    """Load a SentencePiece model that can write the challenge's stream; raise DataError for any other file."""
    try:
        model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: expected a SentencePiece model, found {guess_format(path)}") from error
    if model.bos_id() < 0:
        raise DataError(
            f"{path}: got a tokenizer without BOS, which every document begins with; export one with bos_id"
        )
    if model.get_piece_size() > MAX_PIECES:
        raise DataError(
            f"{path}: got {model.get_piece_size():,} pieces, expected at most {MAX_PIECES:,}: tokens are uint16"
        )
    return model


def train_tokenizer(documents: Documents, vocab_size: int) -> bytes:
    """Train SentencePiece BPE on the training documents, with the settings of the challenge's own export."""
    model = io.BytesIO()
    texts = (documents[name] for name in split_documents(documents)["train"])
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(line for text in texts for line in text.splitlines() if line.strip()),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            character_coverage=0.999,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="nmt_nfkc",
            add_dummy_prefix=False,
            hard_vocab_limit=False,
            max_sentence_length=1 << 20,  # a document may be one long line
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise DataError(f"tokenizer of {vocab_size} pieces: {str(error).splitlines()[-1]}") from error
    return model.getvalue()

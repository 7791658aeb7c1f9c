"""The corpus on disk: a tokenizer, a manifest, and one folder of shards for each split.

shards/<variant>/tokenizer.model
                 manifest.json                      source, token and byte totals, checksums
                 train/fineweb_train_%06d.bin       for training
                 dev/fineweb_val_%06d.bin           for the scores of search tiers
                 validation/fineweb_val_%06d.bin    opened only by tier `record`
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from common.errors import DataError
from data.byte_table import ByteTable
from data.shards import Tokens, read_shards

SPLITS = ("train", "dev", "validation")


@dataclass(frozen=True)
class Manifest:
    """The description of a corpus; checked against its files when they are read."""

    variant: str
    source: str  # where the text came from, with its checksum
    vocab_size: int
    tokens: dict[str, int]  # per split
    text_bytes: dict[str, int]  # per split, by the byte table
    sha256: dict[str, str]  # per file, relative to the corpus
    trials_can_read_text: bool  # the text is also elsewhere on the machine, visible in a sandbox
    unknown_tokens: int = 0  # characters without a piece in the tokenizer: they count no bytes


@dataclass(frozen=True)
class Corpus:
    """An opened corpus.

    Args:
        folder: Where it lies; always absolute.
        manifest: The description that its folder holds.

    Raises:
        DataError: By its methods, for a file that is not what the manifest says.

    Example:
        >>> corpus = Corpus.open(Path("shards/pocket"), verify=True)
        >>> tokens = corpus.tokens("dev")
        >>> corpus.byte_table().target_bytes(tokens).sum()
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path, verify: bool = False) -> "Corpus":
        """Read the manifest; with `verify`, hash every file it lists.

        Raises:
            DataError: The manifest cannot be read, or a file has another checksum.
        """
        path = folder / "manifest.json"
        try:
            manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            reason = reason_without_path(error)
            raise DataError(
                f"{path}: expected a corpus manifest, found {reason}; `python -m data --help` builds one"
            ) from error
        for name, expected in manifest.sha256.items() if verify else ():
            actual = file_sha256(folder / name) if (folder / name).is_file() else "no such file"
            if actual != expected:
                raise DataError(
                    f"{folder / name}: expected sha256 {expected[:16]}…, found {actual[:16]}…; build it again"
                )
        return cls(folder.resolve(), manifest)

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.model"

    def byte_table(self) -> ByteTable:
        return ByteTable.from_tokenizer(self.tokenizer)

    def shards(self, split: str) -> list[Path]:
        """Return the shard files of one split, in order."""
        paths = sorted((self.folder / split).glob("fineweb_*.bin"))
        if not paths:
            raise DataError(f"{self.folder / split}: expected shards fineweb_*.bin, found none; build the corpus again")
        return paths

    def tokens(self, split: str) -> Tokens:
        """Read one split as a stream; its length is checked against the manifest."""
        stream = read_shards(self.shards(split), self.manifest.vocab_size)
        if len(stream) != self.manifest.tokens[split]:
            expected = self.manifest.tokens[split]
            raise DataError(f"{self.folder / split}: expected {expected} tokens, found {len(stream)}; build it again")
        return stream


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a corpus atomically."""
    partial = folder / "manifest.part"
    partial.write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(folder / "manifest.json")


def reason_without_path(error: Exception) -> str:
    """Return the message of an error without the path, which the caller already names."""
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

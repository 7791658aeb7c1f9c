"""A corpus on disk: a tokenizer, a manifest, and one folder of shards for each split.

shards/<variant>/tokenizer.model
                 manifest.json                      what it is, token and byte totals, checksums
                 train/fineweb_train_%06d.bin       what trials learn from
                 dev/fineweb_val_%06d.bin           what search tiers are scored on
                 validation/fineweb_val_%06d.bin    opened only at tier `record`
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from data.byte_table import ByteTable
from data.errors import DataError
from data.shards import Tokens, read_shards

SPLITS = ("train", "dev", "validation")


@dataclass(frozen=True)
class Manifest:
    """What a corpus claims to be; checked against its files whenever it is opened."""

    variant: str
    source: str  # where the text came from, with its checksum
    vocab_size: int
    tokens: dict[str, int]  # per split
    text_bytes: dict[str, int]  # per split, by the byte table
    sha256: dict[str, str]  # per file, relative to the corpus
    trials_can_read_text: bool  # the text is also on the machine where a sandbox can see it
    unknown_tokens: int = 0  # characters that the tokenizer has no piece for: they count no bytes


@dataclass(frozen=True)
class Corpus:
    """An opened corpus."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path, verify: bool = False) -> "Corpus":
        """Read the manifest; with `verify`, hash every file it lists."""
        path = folder / "manifest.json"
        try:
            manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                f"{path}: expected a corpus manifest, found {one_reason(error)}; `python -m data --help` builds one"
            ) from error
        for name, expected in manifest.sha256.items() if verify else ():
            found = file_sha256(folder / name) if (folder / name).is_file() else "no such file"
            if found != expected:
                raise DataError(
                    f"{folder / name}: expected sha256 {expected[:16]}…, found {found[:16]}…; build it again"
                )
        return cls(folder.resolve(), manifest)

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.model"

    def byte_table(self) -> ByteTable:
        return ByteTable.from_tokenizer(self.tokenizer)

    def shards(self, split: str) -> list[Path]:
        """The shard files of one split, in order."""
        found = sorted((self.folder / split).glob("fineweb_*.bin"))
        if not found:
            raise DataError(f"{self.folder / split}: expected shards fineweb_*.bin, found none; build the corpus again")
        return found

    def tokens(self, split: str) -> Tokens:
        """One split as a stream, its length checked against the manifest."""
        stream = read_shards(self.shards(split), self.manifest.vocab_size)
        if len(stream) != self.manifest.tokens[split]:
            expected = self.manifest.tokens[split]
            raise DataError(f"{self.folder / split}: expected {expected} tokens, found {len(stream)}; build it again")
        return stream


def write_manifest(folder: Path, manifest: Manifest) -> None:
    partial = folder / "manifest.part"
    partial.write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(folder / "manifest.json")  # whole or not at all


def one_reason(error: Exception) -> str:
    """An error without the path that its message repeats."""
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Download the challenge's FineWeb shards from where each variant is published, and build a corpus from them.

A shard is valid if its size, its SHA-256 (as the hub lists it) and its header are right, and the corpus once its
manifest is written, which happens last. An interrupted download is resumed.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from common.errors import DataError
from data.byte_table import ByteTable
from data.corpus import SPLITS, Corpus, Manifest, file_sha256, write_manifest
from data.hub import Progress, Remote, Repository
from data.shards import read_shard, write_shard

LONGEST_SEQUENCE = 4096  # official logs round scored tokens down to whole sequences
DEV_TOKENS = 10_000_000
BOS = 1
PLAIN_PATH = re.compile(r"(?!.*\.\.)[\w.-]+(/[\w.-]+)*")


@dataclass(frozen=True)
class Variant:
    """One published tokenization of the same documents (reference/techniques.md 6, rules.md 3)."""

    repository: str  # a dataset on the Hugging Face hub
    dataset: str  # its folder below datasets/datasets/
    vocab_size: int
    scored_tokens: int  # of the validation split, as official logs print it
    train_shards: int = 80  # of 100 M tokens: 8 B, more than 600 s on 8xH100 can consume
    prefix: str = "datasets"


VARIANTS = {
    "sp1024": Variant("willdepueoai/parameter-golf", "fineweb10B_sp1024", 1024, 62_021_632),
    "sp4096": Variant("kevclark/parameter-golf", "fineweb10B_sp4096", 4096, 45_508_608),
    "sp8192": Variant("kevclark/parameter-golf", "fineweb10B_sp8192", 8192, 40_540_160),
    "byte260": Variant("willdepueoai/parameter-golf", "fineweb10B_byte260", 260, 151_130_112),
}
QUIET = Progress()


def prepare(
    name: str, folder: Path, train_shards: int = 0, progress: Progress = QUIET, dev_tokens: int = DEV_TOKENS
) -> Corpus:
    """Download a variant into `folder` and open it; another call resumes an interrupted download.

    Args:
        name: One of VARIANTS.
        folder: Where the corpus goes.
        train_shards: Training shards to download; 0 for the variant's default.
        progress: Receives bytes and messages.
        dev_tokens: Tokens to carve from the end of the last training shard for the dev split.

    Raises:
        DataError: The variant is unknown, the hub does not answer, or a file is not what the hub's manifest says.
    """
    if name not in VARIANTS:
        raise DataError(f"got variant {name!r}, expected one of {', '.join(VARIANTS)}")
    variant = VARIANTS[name]
    wanted = train_shards or variant.train_shards
    if (folder / "manifest.json").exists():
        try:
            corpus = Corpus.open(folder, verify=True)
            if len(corpus.shards("train")) == wanted:
                return corpus
        except DataError as error:
            progress.say(f"{error}; downloading the damaged files again")
        (folder / "manifest.json").unlink()  # intact files stay; everything is counted again
    folder.mkdir(parents=True, exist_ok=True)
    repository = Repository.open(variant.repository, folder, progress)
    repository.fetch(_files(variant, wanted, repository))
    for surplus in sorted((folder / "train").glob("fineweb_train_*.bin"))[wanted:]:
        surplus.unlink()
    progress.say(f"carving dev from the last training shard, counting the bytes of {wanted} shards")
    _carve(folder, dev_tokens)
    return _finish(name, variant, folder, f"hf.co/datasets/{repository.name}@{repository.revision[:12]}")


def _files(variant: Variant, wanted: int, repository: Repository) -> list[Remote]:
    """Return every file of the corpus, according to the repository's own manifest."""
    prefix, dataset = variant.prefix, variant.dataset
    try:
        manifest = json.loads(repository.read(f"{prefix}/manifest.json"))
        entry = next(item for item in manifest["datasets"] if item["name"] == dataset)
        tokenizer = next(item for item in manifest["tokenizers"] if item["name"] == entry["tokenizer_name"])
        published, validation = int(entry["stats"]["files_train"]), int(entry["stats"]["files_val"])
        tokenizer_path = f"{prefix}/{tokenizer.get('model_path') or tokenizer['path']}"
        if not PLAIN_PATH.fullmatch(tokenizer_path):
            raise ValueError(f"the tokenizer path {tokenizer_path[:80]!r}")
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        reason = f"{type(error).__name__} {error}"
        raise DataError(f"{repository.name}: expected {dataset} in {prefix}/manifest.json, found {reason}") from error
    if not 1 <= wanted <= published:
        raise DataError(f"{repository.name}: got --train-shards {wanted}, expected 1 to {published} for {dataset}")
    stem = f"{prefix}/datasets/{dataset}"
    names = {tokenizer_path: "tokenizer.model"}
    for split, kind, count in (("validation", "val", validation), ("train", "train", wanted)):
        files = [f"fineweb_{kind}_{number:06d}.bin" for number in range(count)]
        names |= {f"{stem}/{file}": f"{split}/{file}" for file in files}
    return repository.list_files(names)


def _carve(folder: Path, dev_tokens: int) -> None:
    """Move the end of the last training shard, from the start of a document on, to the dev split."""
    last = sorted((folder / "train").glob("fineweb_train_*.bin"))[-1]
    tokens = read_shard(last)
    first = len(tokens) - min(dev_tokens, len(tokens) // 2)
    starts = (tokens[first:] == BOS).nonzero()[0]
    if not len(starts):
        raise DataError(f"{last}: expected a document (token {BOS}) in its last {dev_tokens} tokens, found none")
    cut = first + int(starts[0])
    (folder / "dev").mkdir(exist_ok=True)
    write_shard(folder / "dev" / "fineweb_val_000000.bin", tokens[cut:])
    shortened = last.with_suffix(".cut")
    write_shard(shortened, tokens[:cut])
    shortened.replace(last)


def _finish(name: str, variant: Variant, folder: Path, source: str) -> Corpus:
    """Count tokens and bytes, and write the manifest that makes the folder a corpus."""
    table = ByteTable.from_tokenizer(folder / "tokenizer.model")
    if table.vocab_size != variant.vocab_size:
        raise DataError(f"{folder}: expected a tokenizer of {variant.vocab_size}, found {table.vocab_size}")
    tokens, text_bytes = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
    for split in SPLITS:
        previous = None
        for path in sorted((folder / split).glob("fineweb_*.bin")):
            shard = read_shard(path, variant.vocab_size)
            tokens[split] += len(shard)
            text_bytes[split] += table.count_bytes(shard, previous)
            previous = int(shard[-1])
    scored = tokens["validation"] - 1
    if not 0 <= scored - variant.scored_tokens < LONGEST_SEQUENCE:
        expected = f"about {variant.scored_tokens:,} validation tokens, as official logs print"
        raise DataError(f"{folder}: expected {expected}, found {scored:,}")
    files = [folder / "tokenizer.model", *sorted(folder.glob("*/fineweb_*.bin"))]
    sha256 = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    write_manifest(folder, Manifest(name, source, variant.vocab_size, tokens, text_bytes, sha256, False))
    return Corpus.open(folder)

"""Golden losses: the first training losses of a tree's small presets, which tell a refactor from a change.

The tree is treated as a foreign program: it is bundled and trained in the sandbox on a synthetic stream, and only its
losses leave the sandbox.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from common.errors import Refused
from common.state import State
from data.corpus import Corpus, Manifest
from data.shards import Tokens, write_shard
from preflight.candidate.candidate import Candidate, raise_for_outcome
from preflight.candidate.describe import describe
from preflight.candidate.launch import LaunchConfig
from preflight.sandbox.cleanup import remove_tree
from preflight.sandbox.job import Limits, collect_output
from preflight.sandbox.start import run
from preflight.source import bundle
from preflight.source.tree import Tree

FOLDER = "tests/base/golden"  # one file per preset
STEPS, VOCAB_SIZE, SEED = 20, 1024, 1
SETTINGS = {"ITERATIONS": str(STEPS), "LOG_EVERY": "1", "BATCH_TOKENS": "512", "WARMDOWN_ITERATIONS": "10"}
SMALL = ("pocket", "_pocket")  # suffixes of presets at pocket width
LIMITS = Limits(wall_seconds=600, cpu_seconds=600)
LOG_BYTES = 1 << 16
ROUNDING_NATS = 1e-4  # between two CPUs, for most presets (tests/base/test_presets.py)


@dataclass(frozen=True)
class GoldenProgram:
    """A bundled tree, its scratch folder and its sandbox level."""

    program: Path
    folder: Path
    level: str

    def presets(self, preset: str, names: Iterable[str] = ()) -> list[str]:
        """Return the presets at pocket width and those in `names`, as the program lists them under `preset`."""
        listed = describe(self._candidate(preset), self.folder / "describe", LIMITS, "--knobs").presets
        return [name for name in listed if name.endswith(SMALL) or name in set(names)]

    def losses(self, preset: str) -> list[float]:
        """Return the training losses of STEPS steps on one thread; raises Refused."""
        candidate, work = self._candidate(preset), self.folder / "train"
        corpus = synthetic_corpus(self.folder / "corpus")
        try:
            job = candidate.train(work, LIMITS, corpus, corpus.folder / "train", SEED)
            raise_for_outcome(job, run(job), "train")
            collect_output(job.out, "metrics.jsonl", LOG_BYTES, self.folder / "metrics.jsonl")
            lines = (self.folder / "metrics.jsonl").read_bytes().splitlines()[:STEPS]
            return [float(json.loads(line)["loss"]) for line in lines]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Refused(
                State.CRASH, f"metrics.jsonl: expected a loss per line, found {type(error).__name__}"
            ) from error
        finally:
            remove_tree(work)

    def _candidate(self, preset: str) -> Candidate:
        target = LaunchConfig(preset, cap_bytes=1 << 24, environment={"OMP_NUM_THREADS": "1", **SETTINGS})
        return Candidate(self.program, target, self.level)


def parse_losses(text: str) -> list[float]:
    """Return the losses of a golden file, as `format_losses` wrote them; what is no number is NaN."""
    losses = []
    for line in text.splitlines():
        try:
            losses.append(float(line.split(" ")[1]))
        except (IndexError, ValueError):
            losses.append(nan)
    return losses


def moved(before: list[float], after: list[float]) -> bool:
    """Return True if losses changed by more than another machine's rounding does."""
    same = len(before) == len(after)
    return not (same and all(abs(old - new) <= ROUNDING_NATS for old, new in zip(before, after, strict=True)))


@contextmanager
def bundled(tree: Tree, level: str) -> Iterator[GoldenProgram]:
    """Bundle a tree in a temporary folder, which is removed on exit."""
    with TemporaryDirectory(prefix="golden-") as scratch:
        program = Path(scratch) / bundle.NAME
        program.write_bytes(bundle.build(tree))
        yield GoldenProgram(program, Path(scratch), level)


def format_losses(losses: list[float]) -> str:
    """Return the text of a golden file."""
    return "".join(f"{step} {value!r}\n" for step, value in enumerate(losses, start=1))


def synthetic_corpus(folder: Path) -> Corpus:
    """Return a corpus of one shard, identical on every machine; write it on the first call."""
    train = folder / "train"
    if not train.exists():
        train.mkdir(parents=True)
        (folder / "tokenizer.model").write_bytes(b"")
        write_shard(train / "fineweb_train_000000.bin", synthetic_tokens())
    counts = {"train": len(synthetic_tokens())}
    return Corpus(folder, Manifest("golden", "made up", VOCAB_SIZE, counts, counts, {}, True))


def synthetic_tokens() -> Tokens:
    """Return a text-like stream: frequent tokens, learnable repeats, documents that open with BOS = 1."""
    rng = np.random.default_rng(0)
    words = np.minimum(rng.zipf(1.3, size=STEPS * 512 * 2), 1000) + 4
    words[1::2] = (7 * words[::2] + 11) % 1000 + 4  # every second token is determined by the previous token
    words[:: 97 * 2] = 1
    return words.astype(np.uint16)

"""Golden losses: what a tree's small presets lose in their first steps, to tell a refactor from a change.

The tree is a foreign program here as everywhere: it is bundled and trained inside the walls, on a made-up stream, and
nothing of it comes out but its losses.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from data.corpus import Corpus, Manifest
from data.errors import Refused
from data.shards import Tokens, write_shard
from data.state import State
from experiments.account import described
from preflight import bundle
from preflight.phases import Candidate, Target, require
from preflight.sandbox import Limits, run, take
from preflight.sandbox.cleanup import discard
from preflight.tree import Tree

FOLDER = "tests/base/golden"  # one file a preset
STEPS, VOCAB_SIZE, SEED = 20, 1024, 1
SETTINGS = {"ITERATIONS": str(STEPS), "LOG_EVERY": "1", "BATCH_TOKENS": "512", "WARMDOWN_ITERATIONS": "10"}
SMALL = ("pocket", "_pocket")  # how the names of presets at pocket width end
LIMITS = Limits(wall_seconds=600, cpu_seconds=600)
LOG_BYTES = 1 << 16


@dataclass(frozen=True)
class Golden:
    """One tree, bundled, and where it may work."""

    program: Path
    folder: Path
    level: str

    def presets(self, preset: str, known: Iterable[str] = ()) -> list[str]:
        """The presets at pocket width, and those that are `known`, by the program's own account as one of them."""
        found = described(self._candidate(preset), self.folder / "describe", LIMITS, "--knobs").presets
        return [name for name in found if name.endswith(SMALL) or name in set(known)]

    def losses(self, preset: str) -> list[float]:
        """Training losses of STEPS steps, one thread; raises Refused."""
        candidate, work = self._candidate(preset), self.folder / "train"
        corpus = made_up(self.folder / "corpus")
        try:
            job = candidate.train(work, LIMITS, corpus, corpus.folder / "train", SEED)
            require(job, run(job), "train")
            take(job.out, "metrics.jsonl", LOG_BYTES, self.folder / "metrics.jsonl")
            lines = (self.folder / "metrics.jsonl").read_bytes().splitlines()[:STEPS]
            return [float(json.loads(line)["loss"]) for line in lines]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Refused(
                State.CRASH, f"metrics.jsonl: expected a loss a line, found {type(error).__name__}"
            ) from error
        finally:
            discard(work)

    def _candidate(self, preset: str) -> Candidate:
        target = Target(preset, cap_bytes=1 << 24, environment={"OMP_NUM_THREADS": "1", **SETTINGS})
        return Candidate(self.program, target, self.level)


@contextmanager
def prepared(tree: Tree, level: str) -> Iterator[Golden]:
    """A tree as a bundle in a folder of its own, which goes at the end."""
    with TemporaryDirectory(prefix="golden-") as scratch:
        program = Path(scratch) / bundle.NAME
        program.write_bytes(bundle.build(tree))
        yield Golden(program, Path(scratch), level)


def text(losses: list[float]) -> str:
    """What stands in a golden file."""
    return "".join(f"{step} {value!r}\n" for step, value in enumerate(losses, start=1))


def made_up(folder: Path) -> Corpus:
    """A corpus of one shard, the same everywhere; made once."""
    train = folder / "train"
    if not train.exists():
        train.mkdir(parents=True)
        (folder / "tokenizer.model").write_bytes(b"")
        write_shard(train / "fineweb_train_000000.bin", stream())
    counts = {"train": len(stream())}
    return Corpus(folder, Manifest("golden", "made up", VOCAB_SIZE, counts, counts, {}, True))


def stream() -> Tokens:
    """A text-like stream: frequent tokens, repeats that can be learned, documents that open with BOS = 1."""
    draw = np.random.default_rng(0)
    words = np.minimum(draw.zipf(1.3, size=STEPS * 512 * 2), 1000) + 4
    words[1::2] = (7 * words[::2] + 11) % 1000 + 4  # every second token follows from the one before it
    words[:: 97 * 2] = 1
    return words.astype(np.uint16)

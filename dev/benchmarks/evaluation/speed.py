"""Rates of the counting experts over a long stream on one core, and their memory.

.venv/bin/python -m dev.benchmarks.evaluation.speed CORPUS --tokens 60000000

The stream is the corpus's training text in random order of passages, again and again, in which one token of ten is
replaced by another of the corpus: repeats are frequent, and contexts of 15 tokens are mostly new.
"""

import os
import platform
import resource
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from base.evaluate.experts.agreement import EXPERTS, Agreement, read_vocabulary
from base.evaluate.experts.counts import NgramCounts
from base.evaluate.knobs import Eval
from data.corpus import Corpus

Tokens = npt.NDArray[np.uint16]
BLOCK, PASSAGE = 1 << 16, 512


def main(corpus: Path, tokens: int = 60_000_000, slots: Annotated[int, typer.Option(help="log2")] = 26) -> None:
    """Print a Markdown table of microseconds a token; memory is that of the process so far."""
    opened = Corpus.open(corpus)
    text = train(corpus)
    vocab_size = opened.manifest.vocab_size
    vocabulary = read_vocabulary(str(opened.tokenizer), vocab_size)
    print(
        f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, one used; {tokens:,} tokens, 2^{slots} slots.\n"
    )
    print("| expert | µs a token | M tokens a second | µs, last tenth | MB at a sixth | MB at the end |")
    print("|---|---|---|---|---|---|")
    for name in (EXPERTS[0], ",".join(EXPERTS)):
        knobs = Eval(agreement=name, agreement_slots=slots)
        row(f"agreement: {name}", Agreement(knobs, vocabulary).observe, text, tokens)
    state = NgramCounts(9, vocab_size, "witten_bell", 1.0, 2, slots - 4)
    row(f"n-grams, orders 2 to 9, 2^{slots - 4} slots", state.observe, text, tokens)


def train(corpus: Path) -> Tokens:
    """The training tokens of a corpus."""
    parts = [np.fromfile(path, dtype="<u2")[512:] for path in sorted((corpus / "train").glob("*.bin"))]
    return np.concatenate(parts).astype(np.uint16)


def row(name: str, observe: Callable[[Tokens], object], text: Tokens, count: int) -> None:
    """Time `observe` over a stream of `count` tokens and print a line of the table; making the stream is not timed."""
    rng, spent, marks = np.random.default_rng(0), [], {}
    for block in range(count // BLOCK):
        places = rng.integers(0, len(text) - PASSAGE, BLOCK // PASSAGE)
        stream = text[places[:, None] + np.arange(PASSAGE)].reshape(-1)
        stream = np.where(rng.random(BLOCK) < 0.1, text[rng.integers(0, len(text), BLOCK)], stream)
        started = time.process_time()
        observe(stream)
        spent.append(time.process_time() - started)
        marks[block] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    mean = sum(spent) / len(spent) / BLOCK * 1e6
    last = float(np.mean(spent[-max(len(spent) // 10, 1) :])) / BLOCK * 1e6
    early = marks[len(spent) // 6]
    print(
        f"| {name} | {mean:.2f} | {1 / mean:.2f} | {last:.2f} | {early:,.0f} | {marks[len(spent) - 1]:,.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    typer.run(main)

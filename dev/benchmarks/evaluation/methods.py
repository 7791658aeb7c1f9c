"""Every method of evaluation on one artifact: paired change in bits per byte, seconds and memory.

.venv/bin/python -m dev.benchmarks.evaluation.methods ARTIFACT CORPUS [--preset pocket] [--only NAME ...]

ARTIFACT is an artifact.bin of a trial; each method scores the dev split in a process of its own. The standard error is
that of the mean over blocks of 1,024 tokens, since losses of neighbors hang together.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from math import log, sqrt
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer

from base.evaluate.experts.agreement import read_vocabulary
from base.evaluate.scorer import Scorer
from base.export import load_model
from base.presets import PRESETS
from base.runtime import Runtime
from data.corpus import Corpus

BLOCK, LARGEST_BLOCK = 1024, 1 << 15
EXPERTS = "token,within_word,word_start"
NGRAMS: dict[str, object] = {"ngram_order": 7, "ngram_slots": 18}
DOCUMENTS: dict[str, object] = {"ttt": "documents", "ttt_chunk": 64, "ttt_batch": 32, "ttt_weight_decay": 0.5}
METHODS: dict[str, dict[str, object]] = {
    "stride 16": {"eval_stride": 16},
    "stride 128": {"eval_stride": 128},
    "attention inside documents": {"eval_documents": True},
    "keys of 3 bits": {"kv_bits": 3},
    "temperature 0.98": {"temperature": 0.98},
    "temperature 1.02": {"temperature": 1.02},
    "online bias": {"bias_rate": 0.001},
    "n-grams, Dirichlet": NGRAMS,
    "n-grams, Witten-Bell": {**NGRAMS, "ngram_smoothing": "witten_bell"},
    "n-grams, Kneser-Ney": {**NGRAMS, "ngram_smoothing": "kneser_ney", "ngram_strength": 0.8},
    "agreement, token": {"agreement": "token"},
    "agreement, token seen twice": {"agreement": "token", "agreement_least": 2},
    "agreement, within words": {"agreement": "within_word"},
    "agreement, word starts": {"agreement": "word_start"},
    "agreement, all three": {"agreement": EXPERTS},
    "neighbors, constant": {"knn_keys": 30_000},
    "neighbors, entropy": {"knn_keys": 30_000, "knn_mixing": "entropy", "knn_weight": 0.1},
    "neighbors, distance": {"knn_keys": 30_000, "knn_mixing": "distance", "knn_weight": 0.5},
    "all weights by SGD": {"ttt": "sgd", "ttt_chunk": 2048, "ttt_epochs": 3, "ttt_lr": 0.005},
    "adapters over the stream": {"ttt": "lora", "ttt_chunk": 2048, "ttt_lr": 0.003},
    "adapters in documents": {**DOCUMENTS, "ttt_lr": 0.001, "ttt_targets": "q,k,v,out,mlp,head"},
    "adapters in documents, phased": {
        **DOCUMENTS, "ttt_lr": 0.001, "ttt_targets": "q,k,v,out,mlp,head", "ttt_phases": "20,50,100",
        "ttt_phase_lr": 0.005,
    },
}  # fmt: skip
app = typer.Typer()


@app.command()
def main(
    artifact: Path,
    corpus: Path,
    preset: str = "pocket",
    only: Annotated[list[str] | None, typer.Option()] = None,
    extra: Annotated[
        list[str] | None, typer.Option(help="NAME=JSON of knobs: a method to measure, alone or with --only")
    ] = None,
    tokens: int = 1 << 30,
) -> None:
    """Print the table."""
    given = {name: json.loads(knobs) for name, _, knobs in (text.partition("=") for text in extra or [])}
    named = METHODS if not (only or extra) else {name: METHODS[name] for name in only or []}
    chosen = {**named, **given}
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, one thread; {preset}, {corpus.name}.\n")
    table, split = Corpus.open(corpus).byte_table(), Corpus.open(corpus).tokens("dev")[:tokens]
    per_token = len(split[1:]) / int(table.target_bytes(split).sum()) / log(2.0)  # bpb of one nat a token
    base, usual = measure(artifact, corpus, preset, {}, tokens)
    print("| method | change, bpb | ± | seconds | times the window's | peak memory, MB more |")
    print("|---|---|---|---|---|---|")
    nats = float(base[1:].mean())
    spent = f"{usual['seconds']:.1f} | 1.0 | {usual['memory']:.0f} in all"
    print(f"| sliding window | {nats * per_token:.5f} | | {spent} |")
    for name, knobs in chosen.items():
        losses, used = measure(artifact, corpus, preset, knobs, tokens)
        difference = (losses - base)[1:].astype(np.float64) * per_token
        blocks = [part.mean() for part in np.array_split(difference, max(len(difference) // BLOCK, 2))]
        error = float(np.std(blocks, ddof=1)) / sqrt(len(blocks))
        cost = f"{used['seconds']:.1f} | {used['seconds'] / usual['seconds']:.1f}"
        change = f"{difference.mean():+.5f} | {error:.5f}"
        print(f"| {name} | {change} | {cost} | {used['memory'] - usual['memory']:.0f} |", flush=True)


def measure(
    artifact: Path, corpus: Path, preset: str, knobs: dict[str, object], tokens: int
) -> tuple[npt.NDArray[np.float32], dict[str, float]]:
    """Return the losses of the dev split and what they cost, from a process of its own."""
    command = [sys.executable, "-m", "dev.benchmarks.evaluation.methods", "--one", json.dumps([preset, knobs, tokens])]
    command += [str(artifact), str(corpus)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    head, _, rest = done.stdout.partition(b"\n")
    return np.frombuffer(rest, dtype=np.float32), json.loads(head)


def one(settings: str, artifact: Path, corpus: Path) -> None:
    """Score the dev split with one set of knobs; write seconds, memory and losses."""
    preset, knobs, count = json.loads(settings)
    torch.set_flush_denormal(True)
    opened, here = Corpus.open(corpus), Runtime(0, 1, torch.device("cpu"), torch.float32)
    config = replace(PRESETS[preset](), eval=replace(PRESETS[preset]().eval, **knobs))
    loaded, model = load_model(artifact.read_bytes(), config.eval, here.dtype, here.device)
    vocabulary = read_vocabulary(str(opened.tokenizer), loaded.model.vocab_size)
    scorer, tokens = Scorer(loaded, here, model, vocabulary), opened.tokens("dev")[:count]
    started = time.process_time()
    blocks = range(0, len(tokens), LARGEST_BLOCK)
    losses = np.concatenate([scorer.observe(tokens[at : at + LARGEST_BLOCK]) for at in blocks])
    spent = {"seconds": time.process_time() - started}
    spent["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.buffer.write(json.dumps(spent).encode() + b"\n" + losses.astype(np.float32).tobytes())


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        app()

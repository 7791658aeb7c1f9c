"""Measure the forecast of artifact sizes: models of different shape, bits and weight decay, forecast, trained, weighed.

.venv/bin/python -m dev.benchmarks.artifact.size_prediction

First models that have little in common: each interval learns from the others of its kind, and beside it from none. Then
a run: ideas that change one thing of the preset, each interval learnt from those before it, as from a run's ledger.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from statistics import median

import typer

from preflight.candidate.size import Untrained, forecast

ROOT = Path(__file__).resolve().parent.parent.parent.parent
CODE_BYTES = 90_000
MODELS = [
    f"{size} weight_decay={decay} {quant}"
    for quant in (
        "matrix_bits=8 embed_bits=8",
        "matrix_bits=6 embed_bits=6 rounding=gptq",
        "matrix_bits=6 embed_bits=7 matrix_clip_sigmas=12.5 embed_clip_sigmas=14 rounding=gptq",
        "matrix_bits=5 embed_bits=8 rounding=gptq clip_search=hessian",
    )
    for size, decay in (
        ("num_layers=3 model_dim=64", 0.04),
        ("num_layers=2 model_dim=96 num_heads=3", 0.2),
        ("num_layers=5 model_dim=64 mlp_multiple=4", 0.0),
        ("num_layers=4 model_dim=48 num_heads=3 num_kv_heads=3", 0.1),
    )
]

IDEAS = [
    "",  # the baseline, from which the first idea's interval is learnt
    "weight_decay=0.1",
    "num_layers=4",
    "matrix_lr=0.035",
    "mlp_multiple=4",
    "weight_decay=0.0",
    "model_dim=80",
    "activation=swiglu",
    "muon_row_norm=True",
    "bigram_buckets=1024",
    "value_residual=convex",
    "embed_lr=0.05",
    "num_kv_heads=2",
    "ema_decay=0.99",
    "xsa_layers=:",
    "weight_decay=0.2",
    "smear=vector",
]


def main(steps: int = 300, processes: int = 2) -> None:
    """Print two Markdown tables."""
    with ThreadPoolExecutor(processes) as pool:
        found = list(pool.map(lambda knobs: measure(knobs, steps), MODELS))
        ideas = list(pool.map(lambda knobs: measure(knobs, steps), IDEAS))
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores; {steps} steps each.\n")
    different_models(found)
    run_of_ideas(ideas)


Found = list[tuple[str, Untrained, int]]  # knobs, the untrained size, the bytes after training


def different_models(found: Found) -> None:
    print("| model | untrained | trained | learnt interval | error | inside | interval of none | inside |")
    print("|---|---|---|---|---|---|---|---|")
    learnt = [Guess(untrained, found[:i] + found[i + 1 :], trained) for i, (_, untrained, trained) in enumerate(found)]
    blind = [Guess(untrained, [], trained) for _, untrained, trained in found]
    for (knobs, untrained, trained), guess, none in zip(found, learnt, blind, strict=True):
        cells = f"{untrained.model_bytes:,} | {trained:,} | {guess} | {none.interval} | {yes(none.hit)}"
        print(f"| {knobs} ({untrained.kind}) | {cells} |")
    print(f"\n{summary(learnt)}; with nothing measured {sum(guess.hit for guess in blind)} of {len(found)}.\n")


def run_of_ideas(found: Found) -> None:
    print("| idea | untrained | trained | interval learnt from those before | error | inside |")
    print("|---|---|---|---|---|---|")
    guesses = [Guess(untrained, found[:i], trained) for i, (_, untrained, trained) in enumerate(found)][1:]
    for (knobs, untrained, trained), guess in zip(found[1:], guesses, strict=True):
        print(f"| {knobs} ({untrained.kind}) | {untrained.model_bytes:,} | {trained:,} | {guess} |")
    print(f"\n{summary(guesses)}.")


class Guess:
    """A forecast that learns from others of the same kind, and what became of it."""

    def __init__(self, untrained: Untrained, others: Found, trained: int):
        ratios = [weight / other.model_bytes for _, other, weight in others if other.kind == untrained.kind]
        found = forecast(untrained, {untrained.kind: ratios}, 1)
        low, high = (end - CODE_BYTES for end in (found.low_bytes, found.high_bytes))
        self.interval, self.hit = f"{low:,} to {high:,}", low <= trained <= high
        self.error, self.width = abs(trained / ((low + high) / 2) - 1), (high - low) / trained

    def __str__(self) -> str:
        return f"{self.interval} | {self.error:.2%} | {yes(self.hit)}"


def summary(guesses: list[Guess]) -> str:
    width, error = median(guess.width for guess in guesses), median(guess.error for guess in guesses)
    hits = sum(guess.hit for guess in guesses)
    return f"{hits} of {len(guesses)} inside, median width {width:.1%}, median error {error:.2%}"


def yes(hit: bool) -> str:
    return "yes" if hit else "**no**"


def measure(knobs: str, steps: int) -> tuple[str, Untrained, int]:
    """Return the knobs, the untrained size and the bytes after training."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "data" / "train").symlink_to(ROOT / "shards" / "pocket" / "train")
        settings = [part for knob in knobs.split() for part in ("--set", knob)]
        run("size", *settings, "--out", str(folder / "size"))
        run("train", *settings, "--data", str(folder / "data"), "--out", str(folder / "out"), steps=steps)
        weights, packed = folder / "out" / "weights.bin", folder / "artifact.bin"
        run("pack", *settings, "--weights", str(weights), "--cap-bytes", str(1 << 30), "--out", str(packed))
        size = json.loads((folder / "size" / "size.json").read_text())
        by_codec: dict[str, int] = {}
        for stream in size["streams"]:
            by_codec[stream["codec"]] = by_codec.get(stream["codec"], 0) + stream["bytes"]
        bits = next((knob.partition("=")[2] for knob in knobs.split() if knob.startswith("matrix_bits")), "8")
        kind = f"{bits} bits, {max(by_codec, key=lambda codec: by_codec[codec])}"
        return knobs, Untrained(CODE_BYTES, size["model_bytes"], kind), packed.stat().st_size


def run(phase: str, *arguments: str, steps: int = 300) -> None:
    environment = {**os.environ, "PRESET": "pocket", "OMP_NUM_THREADS": "1", "ITERATIONS": str(steps)}
    command = [sys.executable, "-m", "base", phase, *arguments]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    typer.run(main)

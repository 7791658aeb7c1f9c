"""Compare roundings on the pocket preset, paired on the same trained weights: bits per byte and bytes.

.venv/bin/python -m dev.benchmarks.artifact.quantisation --seeds 10

Each seed is trained once; every variant quantizes its checkpoint, packs it and scores the dev split.
"""

import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
import typer

from base.compress import artifact
from base.config import Config
from base.evaluate.scorer import Scorer
from base.export import load_checkpoint, load_model, weights_bytes
from base.presets import pocket
from base.runtime import Runtime
from data.byte_table import bits_per_byte
from data.corpus import Corpus

ROOT = Path(__file__).resolve().parent.parent.parent.parent
CPU = Runtime(0, 1, torch.device("cpu"), torch.float32)
BITS = (6, 5, 4)
GPTQ: dict[str, object] = {"rounding": "gptq"}
VARIANTS: dict[str, dict[str, object]] = {
    "rounding": {},
    "rounding, searched clips": {"clip_search": "hessian"},
    "GPTQ": GPTQ,
    "GPTQ, searched clips": {**GPTQ, "clip_search": "hessian"},
    "GPTQ + allocation": {**GPTQ, "bit_allocation": True},
    "GPTQ + allocation, searched clips": {**GPTQ, "bit_allocation": True, "clip_search": "hessian"},
}
Result = tuple[float, int]  # bits per byte, bytes of the model


def main(seeds: int = 10, processes: int = 2, tokens: int = 1 << 30) -> None:
    """Print a Markdown table; `tokens` cuts the scored text."""
    with ProcessPoolExecutor(processes) as pool:
        found = list(pool.map(measure, range(1, seeds + 1), [tokens] * seeds))
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores; {seeds} seeds.\n")
    float_bpb = [results["float"][0] for results in found]
    print(f"Before quantization: {fmean(float_bpb):.5f} bpb (sd between seeds {stdev(float_bpb):.4f}).\n")
    print("| bits | method | bpb over float | ± | bytes | over rounding, bpb | ± | better seeds |")
    print("|---|---|---|---|---|---|---|---|")
    for bits in BITS:
        for name in VARIANTS:
            values = [results[f"{bits} {name}"] for results in found]
            over = [value[0] - results["float"][0] for value, results in zip(values, found, strict=True)]
            paired = [value[0] - results[f"{bits} rounding"][0] for value, results in zip(values, found, strict=True)]
            size = fmean(value[1] for value in values)
            compared = f"{fmean(paired):+.5f} | {stdev(paired) / sqrt(seeds):.5f} | {sum(each < 0 for each in paired)}"
            cells = f"{fmean(over):+.5f} | {stdev(over) / sqrt(seeds):.5f} | {size:,.0f}"
            print(f"| {bits} | {name} | {cells} | {compared if name != 'rounding' else ' | | '} |")


def measure(seed: int, tokens: int) -> dict[str, Result]:
    """Train a seed and return the result of every variant."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    corpus = Corpus.open(ROOT / "shards" / "pocket")
    text = corpus.tokens("dev")[:tokens]
    sizes = corpus.byte_table().target_bytes(text)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = train(seed, Path(folder))

    def scored(config: Config, model: torch.nn.Module) -> float:
        losses = Scorer(config, CPU, model).observe(np.asarray(text))
        return bits_per_byte(float(losses[1:].astype(np.float64).sum()), int(sizes.sum()))

    config, model, calibration = load_checkpoint(checkpoint, pocket(), CPU)
    results = {"float": (scored(config, model.eval()), 0)}
    for bits in BITS:
        for name, knobs in VARIANTS.items():
            quant = replace(config.quant, matrix_bits=bits, embed_bits=bits, **knobs)
            packed = artifact.pack(weights_bytes(replace(config, quant=quant), model, calibration))
            loaded, restored = load_model(packed, config.eval, torch.float32, CPU.device)
            results[f"{bits} {name}"] = (scored(loaded, restored), len(packed))
    return results


def train(seed: int, folder: Path) -> bytes:
    """Train the pocket preset with a seed and return its checkpoint."""
    (folder / "data").mkdir()
    (folder / "data" / "train").symlink_to(ROOT / "shards" / "pocket" / "train")
    environment = {**os.environ, "SEED": str(seed), "PRESET": "pocket", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "base", "train", "--data", str(folder / "data"), "--out", str(folder / "out")]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    return (folder / "out" / "checkpoint.bin").read_bytes()


if __name__ == "__main__":
    typer.run(main)

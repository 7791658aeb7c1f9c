"""Pack every recipe at full size, untrained and with made-up heavy-tailed weights, and compare with the cap.

.venv/bin/python -m dev.benchmarks.artifact.full_size
"""

import os
import platform
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
import typer

from base.compress import artifact
from base.compress.pruning import pack_within
from base.compress.streams import CODECS
from base.config import Config
from base.export import draw_constants, weights_bytes
from base.model.gpt import GPT
from base.model.layers import initialize
from base.presets import PRESETS
from base.quant.calibration import Calibration
from base.runtime import generator
from common.limits import ARTIFACT_BYTES
from preflight.source import release
from preflight.source.tree import read_folder

ROOT = Path(__file__).resolve().parent.parent.parent.parent
RECIPES = ("seed_569", "seed_738", "seed_850", "seed_962", "seed_1302", "seed_576", "challenge")
DEGREES = 5.0  # of Student's t: excess kurtosis 6, more than any trained matrix of compression.md


def main(recipes: str = ",".join(RECIPES)) -> None:
    """Print a Markdown table."""
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores.\n")
    columns = ("recipe", "parameters", "weights", "model", "code", "together", "under the cap", "B/param")
    print(f"| {' | '.join(columns)} | s to quantize, pack, unpack |")
    print("|---|---|---|---|---|---|---|---|---|")
    tree = read_folder(ROOT)
    for name in recipes.split(","):
        config = PRESETS[name]()
        code = len(release.build(tree, {"PRESET": name}))
        for kind in ("untrained", "heavy-tailed"):
            model = GPT(config)
            initialize(model, 1337)
            draw_constants(model, 1337)
            if kind == "heavy-tailed":
                make_heavy(model)
            print(row(name, kind, config, model, code), flush=True)


def make_heavy(model: GPT) -> None:
    """Draw every matrix from Student's t, with rows and columns of uneven width, at the scale it had."""
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            random = generator(7, name)
            normal = torch.randn(weight.shape, generator=random)
            chi = torch.zeros(weight.shape)
            for _ in range(int(DEGREES)):
                chi += torch.randn(weight.shape, generator=random).square()
            widths = [torch.exp(0.25 * torch.randn(side, generator=random)) for side in weight.shape]
            drawn = normal / (chi / DEGREES).sqrt() * widths[0][:, None] * widths[1]
            weight.data.copy_(drawn * weight.data.std() / drawn.std())


def row(name: str, kind: str, config: Config, model: GPT, code: int) -> str:
    parameters = sum(weight.numel() for weight in model.parameters())
    config = replace(config, quant=replace(config.quant, calibration="none", lqer_matrices=0))
    times = [time.perf_counter()]
    weights = weights_bytes(config, model, Calibration(), code)
    times.append(time.perf_counter())
    packed = pack_within(weights, ARTIFACT_BYTES - code, CODECS)
    times.append(time.perf_counter())
    artifact.unpack(packed)
    times.append(time.perf_counter())
    seconds = ", ".join(f"{after - before:.0f}" for before, after in zip(times, times[1:], strict=False))
    total = code + len(packed)
    margin = f"{ARTIFACT_BYTES - total:+,}"
    sizes = f"{len(packed):,} | {code:,} | {total:,} | {margin} | {len(packed) / parameters:.4f}"
    return f"| {name} | {parameters:,} | {kind} | {sizes} | {seconds} |"


if __name__ == "__main__":
    typer.run(main)

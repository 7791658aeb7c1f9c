"""Measure the trainer's speed and the value of the recipes on real English: the tables of trainer.md.

python -m dev.benchmarks.trainer step                     a pocket step against bare loops of the same model
python -m dev.benchmarks.trainer share [--commit C]       breakdown of a step's time, in this tree or another commit
python -m dev.benchmarks.trainer english CORPUS           recipes against the baseline at equal CPU seconds

CORPUS: python -m data tokenize FOLDER_OF_english.jsonl.zst --tokenizer ../shared/data/fineweb_1024_bpe.model
"""

import io
import itertools
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Annotated

import numpy as np
import typer

from data.corpus import Corpus
from data.shards import write_shard
from experiments.judge.noise import paired
from experiments.techniques import Arm, TechniqueStudy, run_parallel
from experiments.tiers import PROFILES
from preflight.sandbox.isolation.levels import available_levels
from preflight.source import bundle
from preflight.source.tree import read_folder

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = PROFILES["pocket"].tier.target
app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)

ROUNDS, STEPS = 7, 40


@app.command()
def step(hidden: Annotated[bool, typer.Option(hidden=True)] = False) -> None:
    """Compare the CPU seconds of a training step with bare loops, in turn in one process with pocket's environment."""
    if not hidden:
        environment = {**os.environ, **TARGET.environment, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "dev.benchmarks.trainer", "step", "--hidden"]
        raise SystemExit(subprocess.run(command, cwd=ROOT, env=environment).returncode)
    import torch

    from base import runtime
    from base.presets import PRESETS
    from base.tokens import loader
    from base.train import Trainer

    device_runtime, config = runtime.start(), PRESETS["pocket"]()
    config = replace(config, run=replace(config.run, iterations=10**6))
    stream = np.random.default_rng(0).integers(2, 1024, 2_000_000).astype(np.uint16)
    trainer, ours, torchs = (Trainer(config, device_runtime) for _ in range(3))
    with Path(os.devnull).open("w") as metrics:
        whole = trainer.run([stream], metrics)
        batch = next(loader.batches(config, device_runtime, [stream]))
        for part in torchs.model.parameters():
            part.data, part.grad = part.data.clone(), None
        adamw = torch.optim.AdamW(torchs.model.parameters(), lr=1e-3, fused=True)

        def with_ours() -> None:
            ours.model(*batch).backward()
            ours.optimizer.step(1.0, 0.9)

        def with_adamw() -> None:
            torchs.model(*batch).backward()
            adamw.step()
            adamw.zero_grad()

        loops = {"a training step": lambda: next(whole), "forward, backward, our optimizer": with_ours}
        loops |= {"forward, backward, torch's fused AdamW": with_adamw}
        spent: dict[str, list[float]] = {name: [] for name in loops}
        for _, (name, loop) in itertools.product(range(ROUNDS), loops.items()):
            started = time.process_time()
            for _ in range(STEPS):
                loop()
            spent[name].append((time.process_time() - started) / STEPS)
    reference = spent["a training step"]
    print("| loop | CPU ms a step (median of 7 x 40) | a training step over it, by round |")
    print("| --- | --- | --- |")
    for name, seconds in spent.items():
        ratios = sorted(mine / other for mine, other in zip(reference, seconds, strict=True))
        print(f"| {name} | {1000 * median(seconds):.1f} | {median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}) |")


PROFILED = """
import sys, json
from pathlib import Path
import torch
from base import runtime
from base.overrides import resolve
from base.presets import PRESETS
from base import train as training
device_runtime, config = runtime.start(), resolve(PRESETS[sys.argv[2]](), ["iterations=20", "log_every=10"], {})
profile, announce = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]), training.announce_and_wait
training.announce_and_wait = lambda *arguments: (announce(*arguments), profile.start())  # from here on, it is timed
training.train(config, device_runtime, Path(sys.argv[1]), Path(sys.argv[1]))
profile.stop()
PRODUCTS = {"aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm"}
spent = {"products": 0.0, "attention": 0.0, "loss": 0.0, "calls": 0}
for event in profile.events():
    spent["calls"] += event.name.startswith("aten::")
    parents, parent = [], event
    while parent is not None:
        parents.append(parent.name)
        parent = parent.cpu_parent
    kind = "loss" if any("SoftcappedCrossEntropy" in name for name in parents) else None
    kind = kind or ("attention" if any("scaled_dot_product" in name for name in parents) else None)
    kind = kind or ("products" if event.name in PRODUCTS else None)
    if kind:
        spent[kind] += event.self_cpu_time_total / 1e6
lines = [json.loads(line) for line in (Path(sys.argv[1]) / "metrics.jsonl").read_text().splitlines()]
print(json.dumps({**spent, "all": lines[-1]["seconds"]}))
"""


@app.command()
def share(
    commit: Annotated[str, typer.Option(help="also measure base/ of this commit")] = "",
    preset: Annotated[str, typer.Option(help="the preset to train")] = "pocket",
) -> None:
    """Break down a training step by torch's profiler: matrix products, attention, loss and the rest; three turns."""
    import json

    with tempfile.TemporaryDirectory() as scratch:
        trees = {"this tree": ROOT}
        if commit:
            archive = subprocess.run(
                ["git", "archive", commit, "base"], cwd=ROOT, check=True, capture_output=True
            ).stdout
            tarfile.open(fileobj=io.BytesIO(archive)).extractall(Path(scratch) / "tree", filter="data")
            trees = {commit: Path(scratch) / "tree", **trees}
        (Path(scratch) / "train").mkdir()
        tokens = np.random.default_rng(0).integers(2, 1024, 400_000)
        write_shard(Path(scratch) / "train" / "fineweb_train_000000.bin", tokens)
        profiles: dict[str, list[Counter[str]]] = {name: [] for name in trees}
        for _, (name, tree) in itertools.product(range(3), trees.items()):
            environment = {**os.environ, **TARGET.environment, "PYTHONPATH": str(tree)}
            environment = {key: value for key, value in environment.items() if key not in ("ITERATIONS",)}
            done = subprocess.run(
                [sys.executable, "-c", PROFILED, scratch, preset],
                env=environment,
                cwd=tree,
                check=True,
                capture_output=True,
                text=True,
            )
            profiles[name].append(Counter(json.loads(done.stdout.splitlines()[-1])))
    columns = ("base/ of", "ms a step", "products", "attention", "loss", "everything else", "ATen operations a step")
    print(f"{preset}:\n\n| " + " | ".join(columns) + " |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, turns in profiles.items():
        best = min(turns, key=lambda turn: turn["all"])
        named = sum(best[kind] for kind in ("products", "attention", "loss"))
        cells = [f"{best[kind] / best['all']:.0%}" for kind in ("products", "attention", "loss")]
        print(
            f"| {name} | {1000 * best['all'] / 20:.1f} | {' | '.join(cells)} | {1 - named / best['all']:.0%} "
            f"| {best['calls'] / 20:,.0f} |"
        )


ENGLISH = {  # settings of every arm, besides those of its recipe
    "MODEL_DIM": "128", "NUM_HEADS": "4", "NUM_KV_HEADS": "2", "SEQUENCE_LENGTH": "256", "BATCH_TOKENS": "4096",
    "EVAL_LENGTH": "256", "EVAL_STRIDE": "128", "MUON_MOMENTUM_STEPS": "300", "EMA_DECAY": "0.99", "LOG_EVERY": "50",
}  # fmt: skip
ARMS = {
    "baseline": {},
    "seed_569": {"BIGRAM_BUCKETS": "1024", "BIGRAM_DIM": "32", "VE_DIM": "32"},
    "challenge": {},
}
CALIBRATION_STEPS, WARMDOWN = 40, 0.6


def step_costs(study: TechniqueStudy, arms: list[Arm]) -> dict[str, float]:
    """Return the CPU seconds of a step of each arm, from two runs of it at once."""
    calls = [(arm, seed, CALIBRATION_STEPS) for arm in arms for seed in (101, 102)]
    cost: dict[str, list[float]] = {arm.name: [] for arm in arms}
    for name, (_, seconds) in run_parallel(lambda arm, *rest: (arm.name, study.train_and_score(arm, *rest)), calls):
        cost[name].append(seconds / CALIBRATION_STEPS)
    return {name: fmean(each) for name, each in cost.items()}


@app.command()
def english(
    corpus: Annotated[Path, typer.Argument(help="a folder written by `data tokenize`")],
    seconds: Annotated[float, typer.Option(help="CPU seconds of training per run")] = 600.0,
    seeds: Annotated[int, typer.Option(min=2)] = 3,
    counted: Annotated[
        str, typer.Option("--steps", help="steps of each recipe, such as 388,269,178, instead of measuring them")
    ] = "",
) -> None:
    """Compare recipes at width 128 with the baseline, each trained for the same CPU seconds, two runs at once."""
    target = replace(TARGET, cap_bytes=16_000_000)
    fixed = {key: value for key, value in TARGET.environment.items() if key not in ENGLISH and key != "ITERATIONS"}
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / bundle.NAME
        program.write_bytes(bundle.build(read_folder(ROOT)))
        study = TechniqueStudy(program, target, Corpus.open(corpus), Path(scratch), available_levels()[0])
        arms = [
            Arm(name, replace(target, preset=f"{name}_pocket", environment={**fixed, **ENGLISH, **knobs}))
            for name, knobs in ARMS.items()
        ]
        if counted:
            steps = dict(zip(ARMS, map(int, counted.split(",")), strict=True))
        else:
            steps = {name: int(seconds / cost) for name, cost in step_costs(study, arms).items()}
        print(f"steps: {steps}", file=sys.stderr, flush=True)
        scores: dict[str, dict[int, tuple[float, float]]] = {arm.name: {} for arm in arms}

        def train_arm(arm: Arm, seed: int) -> tuple[str, int, tuple[float, float]]:
            warmdown = {"WARMDOWN_ITERATIONS": str(int(WARMDOWN * steps[arm.name]))}
            arm = Arm(arm.name, replace(arm.target, environment={**arm.target.environment, **warmdown}))
            return arm.name, seed, study.train_and_score(arm, seed, steps[arm.name])

        calls = [(arm, seed) for seed in range(1, seeds + 1) for arm in arms]
        for name, seed, sample in run_parallel(train_arm, calls):
            scores[name][seed] = sample
            print(f"{name} seed {seed}: {sample[0]:.4f} bpb, {sample[1]:.0f} CPU s", file=sys.stderr, flush=True)
        print("| recipe | parameters | steps | CPU s, mean | bpb by seed | against baseline | standard error |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for arm in arms:
            mine, base = scores[arm.name], scores["baseline"]
            difference = paired([mine[seed][0] - base[seed][0] for seed in sorted(mine)])
            parameters = study.describe(arm.target).parameters["total"]
            each = ", ".join(f"{mine[seed][0]:.4f}" for seed in sorted(mine))
            against = "-" if arm.name == "baseline" else f"{difference.mean:+.4f}"
            error = "-" if arm.name == "baseline" else f"{difference.standard_error:.4f}"
            spent = fmean(sample[1] for sample in mine.values())
            print(f"| {arm.name} | {parameters:,} | {steps[arm.name]:,} | {spent:.0f} | {each} | {against} | {error} |")


if __name__ == "__main__":
    app()

"""Benchmark our trainer against the 2026-03-25 record's (#1019, 86.7 ms a step on 8xH100), in turn on one GPU.

python -m dev.benchmarks.race --record PATH/train_gpt.py [--out dev/benchmarks/race.md]

Both sides get the same random tokens, attention call and batch, that of one of eight GPUs (98,304 tokens in sequences
of 2,048), with one optimizer step per batch; processes alternate, twice. The record's file runs unmodified except for
two lines: one forward pass a step instead of eight, and a stopwatch that ends it. It is read in place, never copied.
`--rehearse` runs both sides small and uncompiled on a CPU, to check that the command works.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from data.shards import write_shard

ROOT = Path(__file__).resolve().parent.parent.parent
TOKENS, LENGTH, UNTIMED, TIMED, VOCAB = 98_304, 2_048, 10, 30, 1_024
PEAK_FLOPS, GOAL = 989e12, 1.05  # dense bf16 of an H100 or H200 SXM, NVIDIA's data sheet; our speed over theirs
SIDES = ("theirs", "ours", "ours, deterministic")
# The record's network, expressed in our knobs: 27,067,484 parameters on both sides.
OURS = {
    "iterations": 20_000, "log_every": 10**6, "compile": 1, "batch_tokens": TOKENS, "sequence_length": LENGTH,
    "value_residual": "none", "resid_mix": "identity", "bigram_buckets": 3_072, "bigram_dim": 112,
    "adamw_projections": 1, "warmdown_iterations": 4_000, "projection_gain": 1.0,
}  # fmt: skip
THEIRS = {"ITERATIONS": 20_000, "LATE_QAT_THRESHOLD": 0, "BIGRAM_VOCAB_SIZE": 3072, "BIGRAM_DIM": 112}
THEIRS |= {
    "WARMDOWN_ITERS": 4000,
    "TRAIN_BATCH_TOKENS": TOKENS,
    "VAL_LOSS_EVERY": 0,
    "TRAIN_LOG_EVERY": 0,
    "MAX_WALLCLOCK_SECONDS": 0,
}
SMALL = dict(model_dim=64, num_heads=2, num_kv_heads=1, batch_tokens=1024, sequence_length=256, compile=0)
SMALL_THEIRS = dict(MODEL_DIM=64, NUM_HEADS=2, NUM_KV_HEADS=1, TRAIN_BATCH_TOKENS=1024)
SMALL_THEIRS |= dict(TRAIN_SEQ_LEN=256, WARMUP_STEPS=1)
EDITS = (  # replacements in the record's file: before, after
    ("grad_accum_steps = 8 // world_size", "grad_accum_steps = 1"),
    ("        step += 1\n", "        step += 1\n        STOPWATCH(step)\n"),
)
ON_CPU = (
    ('torch.device("cuda", local_rank)', 'torch.device("cpu")'),
    ("    if not torch.cuda.is_available():\n        raise RuntimeError", "    if False:\n        raise RuntimeError"),
    ("    torch.cuda.set_device(device)\n", ""),
    ("print(logfile)", "pass"),
    ('["nvidia-smi"]', '["true"]'),
)


class Stopwatch:
    """Time the TIMED steps that follow the UNTIMED, between two device synchronizations; call it after every step."""

    def __init__(self, cuda: bool):
        self.cuda, self.started = cuda, 0.0

    def __call__(self, step: int) -> None:
        import torch

        if step in (UNTIMED, UNTIMED + TIMED):
            if self.cuda:
                torch.cuda.synchronize()
            now = time.perf_counter()
            if step > UNTIMED:
                memory = torch.cuda.max_memory_allocated() if self.cuda else 0
                print(json.dumps({"seconds": now - self.started, "memory": memory}), flush=True)
                raise SystemExit(0)
            self.started = now


def attention(q: Any, k: Any, v: Any, causal: bool = True, **_: object) -> Any:
    """q (B, T, H, D), k and v (B, T, K, D) -> (B, T, H, D): FlashAttention's signature over torch's own kernel."""
    import torch.nn.functional as F

    q, k, v = (x.to(v.dtype).transpose(1, 2) for x in (q, k, v))  # torch 2.12's autocast runs norms in fp32
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True).transpose(1, 2)


def attention_call() -> tuple[Callable[..., Any], str]:
    """Return FlashAttention 3 if it is installed, otherwise torch's kernels, for both sides."""
    try:
        flash_attn_func = import_module("flash_attn_interface").flash_attn_func
    except ImportError:
        return attention, "torch's scaled_dot_product_attention"

    def flash(q: Any, k: Any, v: Any, causal: bool = True, deterministic: bool = False, **_: object) -> Any:
        y = flash_attn_func(q.to(v.dtype), k.to(v.dtype), v, causal=causal, deterministic=deterministic)
        return y[0] if isinstance(y, tuple) else y

    return flash, "FlashAttention 3"


def our_config(rehearse: bool) -> Any:
    """Return the record's network, expressed in our knobs."""
    from base.overrides import override
    from base.presets import PRESETS

    knobs = {**OURS, **(SMALL if rehearse else {})}
    return override(PRESETS["seed_569"](), {name: str(value) for name, value in knobs.items()})


def race_ours(data: Path, rehearse: bool, deterministic: bool) -> None:
    """Run our side in this process: the trainer, its loader and its averages, as `base.train` runs them.

    Trials use deterministic kernels and the record does not, so our side runs once without and once with them.
    """
    import torch

    from base import runtime
    from base.model.attention import flash
    from base.tokens import shards
    from base.train import Trainer

    device_runtime = runtime.start()
    torch.use_deterministic_algorithms(deterministic)
    for backend, on in (("cudnn", False), ("flash", True), ("mem_efficient", rehearse), ("math", rehearse)):
        getattr(torch.backends.cuda, f"enable_{backend}_sdp")(on)  # as the record does
    call, _ = attention_call()
    flash.KERNELS[device_runtime.device.type] = flash.FlashAttention(3, call, call)
    trainer = Trainer(our_config(rehearse), device_runtime)
    trainer.warm_up()
    stopwatch = Stopwatch(device_runtime.device.type == "cuda")
    with Path(os.devnull).open("w") as metrics:
        for step in trainer.run(shards.mapped(data, "fineweb_train_*.bin"), metrics):
            stopwatch(step)


def race_theirs(record: Path, data: Path, rehearse: bool) -> None:
    """Run the record's own main() in this process."""
    import torch

    source = record.read_text()
    for before, after in EDITS + (ON_CPU if rehearse else ()):
        if (count := source.count(before)) != 1:
            raise SystemExit(f"{record}: expected {before!r} once, found it {count} times; is it #1019's?")
        source = source.replace(before, after)
    call, _ = attention_call()
    interface = ModuleType("flash_attn_interface")
    interface.flash_attn_func = call  # type: ignore[attr-defined]
    tokens = ModuleType("sentencepiece")  # its tables are only needed for a score, which is not computed
    pieces = {"vocab_size": lambda: VOCAB, **dict.fromkeys(("is_control", "is_unknown", "is_unused"), lambda _: True)}
    tokens.SentencePieceProcessor = lambda model_file: SimpleNamespace(**pieces)  # type: ignore[attr-defined]
    sys.modules.update(flash_attn_interface=interface, sentencepiece=tokens)
    if rehearse:
        torch.cuda.synchronize = lambda *_: None
    environment = {**THEIRS, **(SMALL_THEIRS if rehearse else {})}
    os.environ.update({name: str(value) for name, value in environment.items()}, DATA_PATH=str(data))
    os.chdir(data)  # it writes logs to the working directory
    space = {"__name__": "__main__", "__file__": str(record), "STOPWATCH": Stopwatch(not rehearse)}
    exec(compile(source, str(record), "exec"), space)


def flops_per_token(rehearse: bool) -> tuple[int, float]:
    """Return the parameters and the training FLOPs per token: 6 per weight of a product, plus causal attention."""
    from base.model.gpt import GPT

    config = our_config(rehearse)
    model = GPT(config)
    products = (
        sum(p.numel() for p in model.parameters() if p.role in ("matrix", "projection")) + model.output_weight.numel()
    )
    attending = 6 * config.model.num_layers * config.data.sequence_length * config.model.model_dim
    return sum(p.numel() for p in model.parameters()), 6.0 * products + attending


def main() -> int:
    """Print the page; return 1 if the goal is missed. Uses argparse, as the machine may have torch and nothing else."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", type=Path, required=True, help="the record's train_gpt.py")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each side")
    parser.add_argument("--out", type=Path, help="write the page to this file")
    parser.add_argument("--rehearse", action="store_true", help="small and uncompiled, on a CPU")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side == "theirs":
        race_theirs(options.record.resolve(), options.data, options.rehearse)
    elif options.side:
        race_ours(options.data, options.rehearse, options.side != "ours")
    if options.side:
        return 0
    measurements: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as scratch:
        random, size = np.random.default_rng(0), TOKENS * (UNTIMED + TIMED + 25)
        write_shard(Path(scratch) / "fineweb_train_000000.bin", random.integers(2, VOCAB, size))
        write_shard(Path(scratch) / "fineweb_val_000000.bin", random.integers(2, VOCAB, TOKENS + 1))
        for _ in range(options.rounds):
            for side, turns in measurements.items():
                turns.append(turn(side, options.record.resolve(), scratch, options.rehearse))
                print(f"{side}: {1000 * turns[-1]['seconds'] / TIMED:.2f} ms a step", file=sys.stderr, flush=True)
    page, ratio = render(measurements, options.rehearse)
    print(page)
    if options.out:
        options.out.write_text(page)
    return int(not options.rehearse and ratio < GOAL)


def turn(side: str, record: Path, data: str, rehearse: bool) -> dict[str, float]:
    """Run one side in a process of its own."""
    command = [sys.executable, "-m", "dev.benchmarks.race", "--record", str(record), "--side", side, "--data", data]
    command += ["--rehearse"] if rehearse else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({"TORCHDYNAMO_DISABLE": "1"} if rehearse else {})}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"seconds"')]
    if done.returncode or not lines:
        raise SystemExit(f"{side} exited with status {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    measurement: dict[str, float] = json.loads(lines[-1])
    return measurement


def render(measurements: dict[str, list[dict[str, float]]], rehearse: bool) -> tuple[str, float]:
    """Return the page as Markdown, and our tokens a second over theirs."""
    import torch

    cuda = torch.cuda.is_available() and not rehearse
    device = torch.cuda.get_device_name() if cuda else f"{platform.machine()}, {os.cpu_count()} cores"
    parameters, flops = flops_per_token(rehearse)
    tokens, length = (SMALL["batch_tokens"], SMALL["sequence_length"]) if rehearse else (TOKENS, LENGTH)
    speed = {name: TIMED * tokens / min(turn["seconds"] for turn in turns) for name, turns in measurements.items()}
    ratio = speed["ours"] / speed["theirs"]
    lines = [
        f"{date.today()}, {device}, torch {torch.__version__}, {attention_call()[1]}; {parameters:,} parameters; "
        f"{tokens:,} tokens a step in sequences of {length:,}, {TIMED} timed steps a turn, the better turn counts.\n",
        "| side | ms a step, by turn | tokens/s | MFU | peak memory, MiB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, turns in measurements.items():
        each = ", ".join(f"{1000 * turn['seconds'] / TIMED:.2f}" for turn in turns)
        memory = max(turn["memory"] for turn in turns) / 2**20
        share = f"{speed[name] * flops / PEAK_FLOPS:.1%}" if cuda else "-"
        lines.append(f"| {name} | {each} | {speed[name]:,.0f} | {share} | {memory:,.0f} |")
    lines.append(f"\nOurs over theirs: {ratio:.3f} (goal {GOAL}).\n")
    return "\n".join(lines), ratio


if __name__ == "__main__":
    sys.exit(main())

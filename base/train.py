"""The training loop: build, warm up, wait for the data, train against the clock, average the weights, calibrate."""

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor

from base.config import Config
from base.model.attention import flash
from base.model.gpt import GPT
from base.model.layers import initialize
from base.optim import schedule
from base.optim.averaging import WeightAverage
from base.optim.optimizer import Optimizer
from base.quant.calibration import Calibration, calibrate
from base.quant.fake_quant import FakeQuantize
from base.quant.quantize import check_knobs
from base.runtime import Runtime
from base.tokens import loader, shards
from base.tokens.complementary import ComplementaryWeights


class NotFinite(ArithmeticError):
    """The training loss stopped being a number."""


class Trainer:
    """A model in training with its optimizer, quantizer and average, and the training step."""

    def __init__(self, config: Config, runtime: Runtime):
        self.config, self.runtime = config, runtime
        self.model = GPT(config, runtime.dtype)
        initialize(self.model, config.run.seed)
        self.model.to(runtime.device)
        self.optimizer = Optimizer(config, self.model, runtime)
        self.fake_quant = FakeQuantize(config.quant, self.model, runtime.device)
        self.average = WeightAverage(config.average, self.optimizer.flat.weights)
        alpha = config.data.complementary_alpha
        self.token_weights = ComplementaryWeights(alpha, config.model.vocab_size, runtime) if alpha else None
        self.micro_batches = loader.micro_batches(config.data, runtime.world)
        self.loss = torch.compile(self.model, dynamic=False) if config.run.compile else self.model

    def set_progress(self, progress: float) -> None:
        """Switch on the loop and QAT after their shares of training; torch.compile makes a program per combination."""
        self.model.set_progress(progress)
        self.fake_quant.set_progress(progress)

    def step(self, batch: loader.Batch, weights: Tensor | None, lr_scale: float, momentum: float) -> Tensor:
        """Run one optimizer step on this rank's share of a batch, tensors (B, T), and return its mean loss."""
        total = torch.zeros((), device=self.runtime.device)
        weights = (weights,) if weights is not None else ()
        for micro_batch in zip(*(part.chunk(self.micro_batches) for part in (*batch, *weights)), strict=True):
            loss = self.loss(*micro_batch)
            (loss / (self.micro_batches * self.runtime.world)).backward()
            total += loss.detach()
        self.optimizer.step(lr_scale, momentum, self.config.quant.crown_q if self.fake_quant.started else 0.0)
        return total / self.micro_batches

    def warm_up(self) -> None:
        """Compile and run every program of the run once, on dummy tokens; the state is restored bit for bit."""
        config = self.config
        starts = {0.0} | ({config.residual.loop_start} if config.residual.loop_passes > 1 else set())
        starts |= {config.quant.qat_start} if config.quant.qat != "none" else set()
        before = [tensor.clone() for tensor in self.optimizer.state()]
        rows = loader.sequences(config.data, self.runtime.world) // self.runtime.world
        tokens = torch.zeros(rows, config.data.sequence_length, dtype=torch.int64, device=self.runtime.device)
        weights = torch.ones(tokens.shape, device=self.runtime.device) if self.token_weights else None
        for start in sorted(starts):
            self.set_progress(start)
            self.step((tokens, tokens), weights, 1.0, 0.9)
        for tensor, value in zip(self.optimizer.state(), before, strict=True):
            tensor.copy_(value)
        if self.runtime.device.type == "cuda":
            torch.cuda.synchronize()  # or pending work would count as training time

    def run(self, streams: list[np.ndarray], metrics: TextIO) -> Iterator[int]:
        """Train on these shards until steps or time are up; yields the number of steps done, after each."""
        config, clock = self.config, Clock(self.config, self.runtime)
        batches = loader.batches(config, self.runtime, streams)
        for step in range(config.run.iterations):
            seconds = clock.seconds()
            if 0 < config.run.max_wallclock_seconds <= seconds:
                return
            progress = schedule.progress(config.run, step, seconds)
            scale = schedule.lr_scale(config.run, config.optim, step, seconds, clock.step_seconds(step, seconds))
            self.set_progress(progress)
            batch = next(batches)
            weights = self.token_weights.weights(*batch) if self.token_weights else None
            loss = self.step(batch, weights, scale, schedule.muon_momentum(config.optim, step))
            self.average.update(step, progress, scale)
            clock.step()
            if (step + 1) % config.run.log_every == 0 or step + 1 == config.run.iterations:
                log_step(config, self.runtime, metrics, step + 1, loss, clock, scale)
            yield step + 1


def train(config: Config, runtime: Runtime, data: Path, out: Path) -> tuple[GPT, Calibration]:
    """Train on DATA/train/fineweb_train_*.bin; return the averaged model, and what quantization is to know of it.

    The data starts the clock: nothing before OUT/ready is timed, everything after DATA/train appears is.
    """
    check_knobs(config.quant)
    trainer = Trainer(with_reserve(config, runtime), runtime)
    for hint in filter(None, (flash.missing_kernel_hint(runtime.device), eager_fallback_hint(config, runtime))):
        runtime.log(hint)
    trainer.warm_up()
    announce_and_wait(runtime, data, out)
    streams = shards.mapped(data / "train", "fineweb_train_*.bin")
    with (out / "metrics.jsonl").open("w", buffering=1) if runtime.rank == 0 else open(os.devnull, "w") as metrics:
        for _ in trainer.run(streams, metrics):
            pass
    if warning := trainer.average.apply():
        runtime.log(warning)
    trainer.model.set_progress(1.0)
    trainer.fake_quant.remove(trainer.model)
    started = time.perf_counter()
    calibration = calibrate(config, runtime, trainer.model, loader.batches(config, runtime, streams))
    runtime.log(f"calibrated on {config.quant.calibration} text in {time.perf_counter() - started:.2f}s")
    return trainer.model, calibration


def with_reserve(config: Config, runtime: Runtime) -> Config:
    """Return the configuration with the reserve taken off a wallclock limit: calibration on training text is training.

    Maintainers closed submissions whose calibration ran after the clock (#569, #609; rules.md section 2).
    """
    limit = config.run.max_wallclock_seconds
    reserve = min(config.quant.reserve_seconds, limit / 10)
    if not reserve:
        return config
    runtime.log(f"gptq:reserving {reserve:g}s of {limit:g}s for calibration and quantization")
    return replace(config, run=replace(config.run, max_wallclock_seconds=limit - reserve))


class Clock:
    """Seconds since the data came; under a wallclock limit rank 0's for all, or ranks would stop at different steps.

    The host runs at most LAG steps in front of a GPU, so that its clock measures the GPU's work and neither is idle.
    """

    LAG, GUARDED_STEPS = 2, 10

    def __init__(self, config: Config, runtime: Runtime):
        self.limited, self.runtime = config.run.max_wallclock_seconds > 0, runtime
        self.events: deque = deque()
        self.guarded_seconds = 0.0
        self.started = time.perf_counter()

    def local_seconds(self) -> float:
        return time.perf_counter() - self.started

    def seconds(self) -> float:
        seconds = self.local_seconds()
        return self.runtime.broadcast_scalar(seconds) if self.limited and self.runtime.world > 1 else seconds

    def step_seconds(self, step: int, seconds: float) -> float:
        """Return the mean seconds of a step, 0 until there is a measurement; call it at every step.

        The first steps do not count: in #962 a slow one made the mean so large that the warmdown began at once.
        """
        if step == self.GUARDED_STEPS:
            self.guarded_seconds = seconds
        if step < 2 * self.GUARDED_STEPS:
            return 0.0
        return (seconds - self.guarded_seconds) / (step - self.GUARDED_STEPS)

    def step(self) -> None:
        if self.limited and self.runtime.device.type == "cuda":
            self.events.append(torch.cuda.current_stream().record_event())
            if len(self.events) > self.LAG:
                self.events.popleft().synchronize()


def eager_fallback_hint(config: Config, runtime: Runtime) -> str | None:
    """Return the log line for Triton kernels that were asked for and cannot run on this device."""
    kernels = {"fused_loss": config.run.fused_loss, "fused_mlp": config.run.fused_mlp}
    if runtime.device.type != "cpu" or not any(kernels.values()):
        return None
    return f"{' and '.join(name for name in kernels if kernels[name])}: Triton needs a GPU, the eager code runs"


def announce_and_wait(runtime: Runtime, data: Path, out: Path) -> None:
    runtime.barrier()
    if runtime.rank == 0:
        (out / "ready").touch()
    while not (data / "train").exists():
        time.sleep(0.005)
    runtime.barrier()


def log_step(
    config: Config, runtime: Runtime, metrics: TextIO, step: int, loss: Tensor, clock: Clock, lr_scale: float
) -> None:
    value = runtime.all_reduce_(loss.float()).item() / runtime.world
    if value != value or value in (float("inf"), float("-inf")):
        raise NotFinite(f"train_loss is {value} at step {step}")
    tokens, seconds = step * config.data.batch_tokens, clock.local_seconds()  # .item() above has waited for the GPU
    line = {"step": step, "loss": value, "seconds": round(seconds, 4), "tokens": tokens, "lr_scale": lr_scale}
    metrics.write(json.dumps(line) + "\n")
    milliseconds = 1000 * seconds
    runtime.log(
        f"step:{step}/{config.run.iterations} train_loss:{value:.4f} train_time:{milliseconds:.0f}ms "
        f"step_avg:{milliseconds / step:.2f}ms"
    )

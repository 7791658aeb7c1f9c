"""The training loop: build, warm up, wait for the data, run against the clock, leave averaged weights."""

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor

from base.config import Config
from base.model import flash
from base.model.gpt import GPT
from base.model.layers import initialise
from base.optim import schedule
from base.optim.averaging import Average
from base.optim.optimiser import Optimiser
from base.quant.rounding import Rounding
from base.runtime import Runtime
from base.tokens import loader, shards
from base.tokens.complementary import Complement


class NotFinite(ArithmeticError):
    """The training loss stopped being a number."""


class Trainer:
    """One model in training: what a step moves, and the step."""

    def __init__(self, config: Config, runtime: Runtime):
        self.config, self.runtime = config, runtime
        self.model = GPT(config, runtime.dtype)
        initialise(self.model, config.run.seed)
        self.model.to(runtime.device)
        self.optimiser = Optimiser(config, self.model, runtime)
        self.rounding = Rounding(config.quant, self.model, runtime.device)
        self.average = Average(config.average, self.optimiser.storage.weights)
        alpha = config.data.complementary_alpha
        self.complement = Complement(alpha, config.model.vocab_size, runtime) if alpha else None
        self.pieces = loader.micro_batches(config.data, runtime.world)
        self.loss = torch.compile(self.model, dynamic=False) if config.run.compile else self.model

    def reach(self, progress: float) -> None:
        """Switch on what starts after a share of training; of each combination torch.compile makes a program."""
        self.model.reach(progress)
        self.rounding.reach(progress)

    def step(self, batch: loader.Batch, weights: Tensor | None, lr_scale: float, momentum: float) -> Tensor:
        """One optimiser step on this rank's share of a batch, both (B, T); returns its mean loss."""
        total = torch.zeros((), device=self.runtime.device)
        weights = (weights,) if weights is not None else ()
        for piece in zip(*(part.chunk(self.pieces) for part in (*batch, *weights)), strict=True):
            loss = self.loss(*piece)
            (loss / (self.pieces * self.runtime.world)).backward()
            total += loss.detach()
        self.optimiser.step(lr_scale, momentum, self.config.quant.crown_q if self.rounding.late else 0.0)
        return total / self.pieces

    def warm_up(self) -> None:
        """Compile and fault in every program of the run on made-up tokens; the state comes back bit for bit."""
        config = self.config
        starts = {0.0} | ({config.residual.loop_start} if config.residual.loop_passes > 1 else set())
        starts |= {config.quant.qat_start} if config.quant.qat != "none" else set()
        before = [tensor.clone() for tensor in self.optimiser.state()]
        rows = loader.sequences(config.data, self.runtime.world) // self.runtime.world
        tokens = torch.zeros(rows, config.data.sequence_length, dtype=torch.int64, device=self.runtime.device)
        weights = torch.ones(tokens.shape, device=self.runtime.device) if self.complement else None
        for start in sorted(starts):
            self.reach(start)
            self.step((tokens, tokens), weights, 1.0, 0.9)
        for tensor, value in zip(self.optimiser.state(), before, strict=True):
            tensor.copy_(value)
        if self.runtime.device.type == "cuda":
            torch.cuda.synchronize()  # what is still under way would be timed

    def run(self, streams: list[np.ndarray], metrics: TextIO) -> Iterator[int]:
        """Train on these shards until steps or time are up; yields how many steps are done, after each."""
        config, clock = self.config, Clock(self.config, self.runtime)
        batches = loader.batches(config, self.runtime, streams)
        for step in range(config.run.iterations):
            seconds = clock.seconds()
            if 0 < config.run.max_wallclock_seconds <= seconds:
                return
            progress = schedule.progress(config.run, step, seconds)
            scale = schedule.lr_scale(config.run, config.optim, step, seconds, clock.step_seconds(step, seconds))
            self.reach(progress)
            batch = next(batches)
            weights = self.complement.weights(*batch) if self.complement else None
            loss = self.step(batch, weights, scale, schedule.muon_momentum(config.optim, step))
            self.average.update(step, progress, scale)
            clock.step()
            if (step + 1) % config.run.log_every == 0 or step + 1 == config.run.iterations:
                record(config, self.runtime, metrics, step + 1, loss, clock, scale)
            yield step + 1


def train(config: Config, runtime: Runtime, data: Path, out: Path) -> GPT:
    """Train on DATA/train/fineweb_train_*.bin and return the averaged model.

    The clock is the data: everything before OUT/ready is untimed, everything after DATA/train appears is timed.
    """
    trainer = Trainer(config, runtime)
    for hint in filter(None, (flash.advice(runtime.device), unfused(config, runtime))):
        runtime.log(hint)
    trainer.warm_up()
    announce_and_wait(runtime, data, out)
    with (out / "metrics.jsonl").open("w", buffering=1) if runtime.rank == 0 else open(os.devnull, "w") as metrics:
        for _ in trainer.run(shards.mapped(data / "train", "fineweb_train_*.bin"), metrics):
            pass
    if said := trainer.average.apply():
        runtime.log(said)
    trainer.model.reach(1.0)
    return trainer.model


class Clock:
    """Seconds since the data came; under a wallclock limit rank 0's for all, or ranks would stop at different steps.

    The host runs at most LAG steps ahead of a GPU, so that its clock tells what the GPU has done, and neither ever
    waits for the other to run dry.
    """

    LAG, GUARDED_STEPS = 2, 10

    def __init__(self, config: Config, runtime: Runtime):
        self.limited, self.runtime = config.run.max_wallclock_seconds > 0, runtime
        self.events: deque = deque()
        self.guarded_seconds = 0.0
        self.started = time.perf_counter()

    def here(self) -> float:
        return time.perf_counter() - self.started

    def seconds(self) -> float:
        return self.runtime.agreed(self.here()) if self.limited and self.runtime.world > 1 else self.here()

    def step_seconds(self, step: int, seconds: float) -> float:
        """Mean seconds of a step, to be asked at every step; 0 until there is a measure.

        The first steps do not count: in #962 a slow one made the mean so large that the warmdown began at once.
        """
        if step == self.GUARDED_STEPS:
            self.guarded_seconds = seconds
        known = step >= 2 * self.GUARDED_STEPS
        return (seconds - self.guarded_seconds) / (step - self.GUARDED_STEPS) if known else 0.0

    def step(self) -> None:
        if self.limited and self.runtime.device.type == "cuda":
            self.events.append(torch.cuda.current_stream().record_event())
            if len(self.events) > self.LAG:
                self.events.popleft().synchronize()


def unfused(config: Config, runtime: Runtime) -> str | None:
    """The line that says a kernel which was asked for cannot run here."""
    kernels = {"fused_loss": config.run.fused_loss, "fused_mlp": config.run.fused_mlp}
    asked = [name for name, wanted in kernels.items() if wanted]
    return (
        f"{' and '.join(asked)}: Triton needs a GPU, the eager twin runs"
        if asked and runtime.device.type == "cpu"
        else None
    )


def announce_and_wait(runtime: Runtime, data: Path, out: Path) -> None:
    runtime.barrier()
    if runtime.rank == 0:
        (out / "ready").touch()
    while not (data / "train").exists():
        time.sleep(0.005)
    runtime.barrier()


def record(
    config: Config, runtime: Runtime, metrics: TextIO, step: int, loss: Tensor, clock: Clock, lr_scale: float
) -> None:
    value = runtime.sum_(loss.float()).item() / runtime.world
    if value != value or value in (float("inf"), float("-inf")):
        raise NotFinite(f"train_loss is {value} at step {step}")
    tokens, seconds = step * config.data.batch_tokens, clock.here()  # the line above has waited for the GPU
    line = {"step": step, "loss": value, "seconds": round(seconds, 4), "tokens": tokens, "lr_scale": lr_scale}
    metrics.write(json.dumps(line) + "\n")
    milliseconds = 1000 * seconds
    runtime.log(
        f"step:{step}/{config.run.iterations} train_loss:{value:.4f} train_time:{milliseconds:.0f}ms "
        f"step_avg:{milliseconds / step:.2f}ms"
    )

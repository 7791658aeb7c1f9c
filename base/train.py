"""The training loop: build, warm up, wait for the data, run against the clock, leave averaged weights."""

import json
import time
from pathlib import Path

import torch

from base.config import Config
from base.model import flash
from base.model.gpt import GPT
from base.model.layers import initialise
from base.optim import schedule
from base.optim.averaging import Average
from base.optim.groups import optimisers
from base.runtime import Runtime
from base.tokens import loader, shards


class NotFinite(ArithmeticError):
    """The training loss stopped being a number."""


def train(config: Config, runtime: Runtime, data: Path, out: Path) -> GPT:
    """Train on DATA/train/fineweb_train_*.bin and return the averaged model.

    The clock is the data: everything before OUT/ready is untimed, everything after DATA/train appears is timed.
    """
    model = GPT(config, runtime.dtype)
    initialise(model, config.run.seed)
    model.to(runtime.device)
    weights = list(model.parameters())
    for weight in weights:  # kept from step to step: a part that is not in use yet has a gradient of zero, not none
        weight.grad = torch.zeros_like(weight)
    grads = [weight.grad for weight in weights]
    muon, adamws = optimisers(config, model, runtime.dtype)
    average = Average(model, config.average.ema_decay)
    step_loss = torch.compile(model) if config.run.compile else model
    for hint in filter(None, (flash.advice(runtime.device), unfused(config, runtime))):
        runtime.log(hint)
    warm_up(config, runtime, model, step_loss)
    torch._foreach_zero_(grads)
    announce_and_wait(runtime, data, out)

    started = time.perf_counter()
    batches = loader.batches(config, runtime, shards.read(data / "train", "fineweb_train_*.bin"))
    step = 0
    with (out / "metrics.jsonl").open("w") if runtime.rank == 0 else open("/dev/null", "w") as metrics:
        while step < config.run.iterations:
            seconds = clock(config, runtime, started)
            if 0 < config.run.max_wallclock_seconds <= seconds:
                break
            scale = schedule.lr_scale(config.run, config.optim, step, seconds)
            model.reach(schedule.progress(config.run, step, seconds))
            loss = step_loss(*next(batches))
            loss.backward()
            average_gradients(runtime, grads)
            if config.optim.grad_clip > 0:
                torch.nn.utils.clip_grad_norm_(weights, config.optim.grad_clip)
            muon.step(scale, schedule.muon_momentum(config.optim, step))
            for adamw in adamws:
                adamw.step(scale)
            torch._foreach_zero_(grads)
            average.update(step)
            step += 1
            if step % config.run.log_every == 0 or step == config.run.iterations:
                record(config, runtime, metrics, step, loss, time.perf_counter() - started, scale)
    average.apply()
    model.looping = True
    return model


def unfused(config: Config, runtime: Runtime) -> str | None:
    """The line that says a kernel which was asked for cannot run here."""
    asked = [name for name in ("fused_loss", "fused_mlp") if getattr(config.run, name)]
    return (
        f"{' and '.join(asked)}: Triton needs a GPU, the eager twin runs"
        if asked and runtime.device.type == "cpu"
        else None
    )


def warm_up(config: Config, runtime: Runtime, model: GPT, step_loss: torch.nn.Module) -> None:
    """Compile and fault in the kernels on made-up tokens, with the loop off and on; only gradients move."""
    rows = config.data.batch_tokens // config.data.sequence_length // runtime.world
    tokens = torch.zeros(max(rows, 1), config.data.sequence_length, dtype=torch.int64, device=runtime.device)
    for progress in {0.0, config.residual.loop_start} if config.residual.loop_passes > 1 else {1.0}:
        model.reach(progress)
        step_loss(tokens, tokens).backward()


def announce_and_wait(runtime: Runtime, data: Path, out: Path) -> None:
    runtime.barrier()
    if runtime.rank == 0:
        (out / "ready").touch()
    while not (data / "train").exists():
        time.sleep(0.005)
    runtime.barrier()


def clock(config: Config, runtime: Runtime, started: float) -> float:
    """Seconds so far; under a wallclock limit rank 0's for all, or ranks would stop and decay at different steps."""
    seconds = time.perf_counter() - started
    if config.run.max_wallclock_seconds <= 0 or runtime.world == 1:
        return seconds
    return runtime.broadcast_(torch.tensor([seconds], dtype=torch.float64, device=runtime.device)).item()


def average_gradients(runtime: Runtime, grads: list[torch.Tensor]) -> None:
    """Mean over ranks, all parameters in one message."""
    if runtime.world == 1:
        return
    flat = runtime.sum_(torch.cat([grad.flatten() for grad in grads])) / runtime.world
    parts = flat.split([grad.numel() for grad in grads])
    torch._foreach_copy_(grads, [part.view_as(grad) for part, grad in zip(parts, grads, strict=True)])


def record(config: Config, runtime: Runtime, metrics, step: int, loss, seconds: float, lr_scale: float) -> None:
    value = runtime.sum_(loss.detach().float()).item() / runtime.world
    if value != value or value in (float("inf"), float("-inf")):
        raise NotFinite(f"train_loss is {value} at step {step}")
    tokens = step * config.data.batch_tokens
    line = {"step": step, "loss": value, "seconds": round(seconds, 4), "tokens": tokens, "lr_scale": lr_scale}
    metrics.write(json.dumps(line) + "\n")
    milliseconds = 1000 * seconds
    runtime.log(
        f"step:{step}/{config.run.iterations} train_loss:{value:.4f} train_time:{milliseconds:.0f}ms "
        f"step_avg:{milliseconds / step:.2f}ms"
    )

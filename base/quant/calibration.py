"""Statistics for quantization: for every matrix E[x x^T] of its inputs and E[g^2] of its outputs' gradients.

Together they say what an error of the weights costs: a change E of a matrix raises the loss of a token by about
1/2 sum_r G_r e_r H e_r^T (K-FAC, arXiv 1503.05671, with the outputs' covariance cut to its diagonal).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from base.config import Config
from base.model.gpt import GPT
from base.model.layers import Linear
from base.model.loss import softcap
from base.runtime import Runtime, generator

GENERATED_ROWS, GENERATED_BATCHES, TEMPERATURE = 8, 8, 0.8  # #1019: 64 sequences in batches of 8
CHUNK_SHARE = 4  # calibration keeps logits and gradients of every layer, so its batches are smaller than training's


@dataclass
class Calibration:
    """By the name of a matrix (R, K): Hessians (K, K) and Fisher information of rows (R,), means over tokens."""

    hessians: dict[str, Tensor] = field(default_factory=dict)
    fisher: dict[str, Tensor] = field(default_factory=dict)


class Observer:
    """Sums over the tokens of a model's passes, kept by hooks on its linear maps."""

    def __init__(self, model: GPT):
        self.model, self.tokens = model, 0
        self.sums = Calibration()
        self.hooks = [
            module.register_forward_hook(self.hook(f"{name}.weight"))
            for name, module in model.named_modules()
            if isinstance(module, Linear)
        ]

    def hook(self, name: str):
        return lambda _module, inputs, output: self.add(name, inputs[0], output)

    def add(self, name: str, inputs: Tensor, output: Tensor) -> None:
        """Add the second moment of inputs (..., K), and that of the gradient of output (..., R) once it is known."""
        rows = inputs.detach().flatten(0, -2).float()
        self.accumulate(self.sums.hessians, name, rows.T @ rows)
        if output.requires_grad:
            output.register_hook(
                lambda gradient: self.accumulate(
                    self.sums.fisher, name, gradient.float().flatten(0, -2).square().sum(dim=0)
                )
            )

    def accumulate(self, sums: dict[str, Tensor], name: str, value: Tensor) -> None:
        if name in sums:
            sums[name] += value
        else:
            sums[name] = value

    def observe(self, tokens: Tensor, targets: Tensor) -> None:
        """Run the model forward and backward on tokens and targets (B, T), with the sum of losses."""
        hidden = self.model.hidden(tokens)
        weight = self.model.output_weight
        z = F.linear(hidden, weight.to(hidden.dtype))
        self.add("embedding" if self.model.head is None else "head", hidden, z)
        logits = softcap(z.float(), self.model.config.model.softcap)
        F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").backward()
        self.model.zero_grad(set_to_none=True)
        self.tokens += tokens.numel()

    def finish(self, runtime: Runtime) -> Calibration:
        """Remove the hooks and return means over the tokens of all ranks."""
        for hook in self.hooks:
            hook.remove()
        count = runtime.all_reduce_(torch.tensor([float(self.tokens)], device=runtime.device))  # no wait for it
        for sums in (self.sums.hessians, self.sums.fisher):
            for name in sorted(sums):
                runtime.all_reduce_(sums[name]).div_(count)
        return self.sums


def calibrate(config: Config, runtime: Runtime, trained: GPT, batches: Iterator[tuple[Tensor, Tensor]]) -> Calibration:
    """Return statistics of the trained model on training batches, or on text that it wrote itself.

    The pass is eager, in a copy of the model without fused kernels, which would hide the inputs of some matrices.
    """
    if config.quant.calibration == "none":
        return Calibration()
    run = replace(config.run, fused_loss=False, fused_mlp=False)
    model = GPT(replace(config, run=run, model=replace(config.model, mtp_heads=0)), runtime.dtype).to(runtime.device)
    model.load_state_dict(trained.state_dict(), strict=False)  # without the heads that only shape the training loss
    model.set_progress(1.0)
    rows = max(config.data.micro_tokens // CHUNK_SHARE // config.data.sequence_length, 1)
    if config.quant.calibration == "generated":  # all of it before anything is observed: sampling reads prefixes
        texts = [generate(config, runtime, model, i) for i in range(runtime.rank, GENERATED_BATCHES, runtime.world)]
    else:
        texts = list(islice(batches, config.quant.calibration_batches))
    observer = Observer(model)
    for tokens, targets in texts:
        for part in zip(tokens.split(rows), targets.split(rows), strict=True):
            observer.observe(*part)
    return observer.finish(runtime)


@torch.no_grad()
def generate(config: Config, runtime: Runtime, model: GPT, index: int) -> tuple[Tensor, Tensor]:
    """Sample sequences from the model (#1019), keyed by seed and index: tokens and targets (B, T)."""
    random = generator(config.run.seed, f"calibration {index}")
    length = config.data.sequence_length
    text = torch.randint(config.model.vocab_size, (GENERATED_ROWS, 1), generator=random)
    for _ in range(length):
        hidden = model.hidden(text.to(runtime.device))[:, -1:]
        chances = (model.logits(hidden)[:, 0] / TEMPERATURE).softmax(dim=-1).cpu()
        text = torch.cat((text, torch.multinomial(chances, 1, generator=random)), dim=1)
    text = text.to(runtime.device)
    return text[:, :-1].contiguous(), text[:, 1:].contiguous()

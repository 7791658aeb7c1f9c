"""Training on the export's grid: quantization-aware training (QAT) of the matrices, and CROWN-Q's penalty."""

from functools import partial

import torch
from torch import Tensor, nn

from base.config import Quant
from base.model.layers import Linear
from base.quant import grids
from base.quant.quantize import bits_of

MAX_SHARPNESS = 16.0  # of soft rounding, reached at the end; 1 is near identity


class FakeQuantize:
    """Weights (R, C) as the matrix products see them: rounded to the export's own grid after `qat_start`.

    ste: hard rounding whose gradient is the identity (straight-through estimator, arXiv 1308.3432)
    soft: floor(y) + 1/2 + tanh(a (y - floor(y) - 1/2)) / (2 tanh(a / 2)), differentiable; a rises from 1, near
        identity, to MAX_SHARPNESS, near hard rounding (arXiv 2006.09952). #850's form leaves the grid as its a rises.

    `enabled` is a plain flag that torch.compile guards: both programs are compiled before the clock starts. The seeds'
    class attribute was folded into the first program, and their QAT never ran (#315). The sharpness is a tensor, so
    that it changes without a new program and without waiting for the device.
    """

    def __init__(self, quant: Quant, model: nn.Module, device: torch.device):
        self.quant, self.started, self.enabled = quant, False, False
        self.sharpness = torch.ones((), device=device)
        if quant.qat != "none":
            for name, module in model.named_modules():
                if isinstance(module, Linear):
                    bits = bits_of(f"{name}.weight", False, quant)
                    module.fake_quant = partial(self, bits=bits)

    def remove(self, model: nn.Module) -> None:
        """Let the matrix products see the weights themselves again."""
        for module in model.modules():
            if isinstance(module, Linear):
                module.fake_quant = None

    def set_progress(self, progress: float) -> None:
        """Switch on after qat_start, and sharpen as training goes on."""
        self.started = progress >= self.quant.qat_start
        self.enabled = self.started and self.quant.qat != "none"
        if self.enabled and self.quant.qat == "soft":
            share = (progress - self.quant.qat_start) / max(1.0 - self.quant.qat_start, 1e-9)
            self.sharpness.fill_(1.0 + (MAX_SHARPNESS - 1.0) * min(share, 1.0))

    def __call__(self, weight: Tensor, bits: int | None = None) -> Tensor:
        if not self.enabled:
            return weight
        largest, scales = grids.grid(weight.detach(), bits or self.quant.matrix_bits, self.quant.matrix_clip_sigmas)
        scales = scales.float()[:, None]
        if self.quant.qat == "soft":
            y = weight / scales
            # The gradient passes the clamp: a scale rounded to fp16 leaves half of all rows' largest weights outside.
            return soft_round(y + (y.clamp(-largest, largest) - y).detach(), self.sharpness) * scales
        rounded = (weight.detach() / scales).round().clamp(-largest, largest) * scales
        return weight + (rounded - weight.detach())


def soft_round(y: Tensor, sharpness: Tensor) -> Tensor:
    floor = y.detach().floor()
    return floor + 0.5 + torch.tanh(sharpness * (y - floor - 0.5)) / (2.0 * torch.tanh(sharpness / 2.0))


def crown_q_gradient(weights: Tensor, bits: int, strength: float) -> Tensor:
    """Gradient (B, m, n) of strength/12 sum over matrices of mean_ij(w_ij^2 d_i^2), weights (B, m, n) (#692, #962).

    d_i = max_j |w_ij| / (largest integer) counts as a constant, so this is a weight decay that is stronger in rows of
    wide range. It goes past the compiled loss straight into the gradients. At #962's strength of .01 it is about 1e-8
    of the loss's own (dev/LOG.md).
    """
    largest, (rows, columns) = grids.max_integer(bits), weights.shape[-2:]
    step = weights.abs().amax(dim=-1, keepdim=True) / largest
    return weights * step.square() * (strength / (6.0 * rows * columns))

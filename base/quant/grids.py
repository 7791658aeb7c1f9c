"""Symmetric integer grids, one fp16 scale per row."""

import torch
from torch import Tensor


def max_integer(bits: int) -> int:
    """Return the largest integer of a grid."""
    if not 2 <= bits <= 8:
        raise ValueError(f"expected 2 to 8 bits, got {bits}")
    return 2 ** (bits - 1) - 1


def grid(weight: Tensor, bits: int, clip_sigmas: float = 0.0) -> tuple[int, Tensor]:
    """weight (R, C) -> the largest integer of its grid, and the step size of each row (R,) fp16.

    A row's largest integer stands for its largest weight, or with `clip_sigmas` k for k standard deviations (SDClip,
    #1394): a large k wastes the ends of the grid on purpose, so that integers are small and code to fewer bytes.
    """
    largest = max_integer(bits)
    limit = clip_sigmas * weight.std(dim=1) if clip_sigmas else weight.abs().amax(dim=1)
    return largest, (limit / largest).clamp_min(1e-7).half()


def quantize(weight: Tensor, bits: int, clip_sigmas: float = 0.0) -> tuple[Tensor, Tensor]:
    """weight (R, C) -> integers (R, C) int8 on its grid, scales (R,) fp16.

    Weights are divided by the scale as rounded to fp16, the one that `dequantize` multiplies by.
    """
    largest, scales = grid(weight, bits, clip_sigmas)
    return (weight / scales.float()[:, None]).round().clamp(-largest, largest).to(torch.int8), scales


def dequantize(integers: Tensor, scales: Tensor) -> Tensor:
    return integers.float() * scales.float()[:, None]

"""Symmetric integer grids, one fp16 scale per row."""

import torch
from torch import Tensor


def quantise(weight: Tensor, bits: int, clip_sigmas: float = 0.0) -> tuple[Tensor, Tensor]:
    """weight (R, C) -> integers (R, C) int8 in +-(2^(bits-1) - 1), scales (R,) fp16.

    A row's largest integer stands for its largest weight, or with `clip_sigmas` k for k standard deviations (SDClip,
    #1394): a large k wastes the ends of the grid on purpose, so that integers are small and code to fewer bytes.
    The fp16-rounded scale is the one divided by, so that the reader multiplies by what the writer used.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"expected 2 to 8 bits, got {bits}")
    top = 2 ** (bits - 1) - 1
    reach = clip_sigmas * weight.std(dim=1) if clip_sigmas else weight.abs().amax(dim=1)
    scales = (reach / top).clamp_min(1e-7).half()
    return (weight / scales.float()[:, None]).round().clamp(-top, top).to(torch.int8), scales


def dequantise(integers: Tensor, scales: Tensor) -> Tensor:
    return integers.float() * scales.float()[:, None]

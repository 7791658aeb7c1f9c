"""Symmetric integer grids of 2 (ternary) to 8 bits, one fp16 scale per row."""

import torch
from torch import Tensor

SMALLEST_SCALE = 1e-7  # of a row of zeros; a floor of 1/Q would give all small rows one step (techniques.md C1)


def max_integer(bits: int) -> int:
    """Return the largest integer of a grid."""
    if not 2 <= bits <= 8:
        raise ValueError(f"expected 2 to 8 bits, got {bits}")
    return 2 ** (bits - 1) - 1


def grid(weight: Tensor, bits: int, clip_sigmas: float = 0.0) -> tuple[int, Tensor]:
    """weight (..., R, C) -> the largest integer of its grid, and the step size of each row (..., R) fp16.

    A row's largest integer stands for its largest weight, or with `clip_sigmas` k for k standard deviations (SDClip,
    #1394): a large k wastes the ends of the grid on purpose, so that integers are small and code to fewer bytes.
    """
    largest = max_integer(bits)
    limit = clip_sigmas * weight.std(dim=-1) if clip_sigmas else weight.abs().amax(dim=-1)
    return largest, (limit / largest).clamp_min(SMALLEST_SCALE).half()


def quantize(weight: Tensor, bits: int, clip_sigmas: float = 0.0) -> tuple[Tensor, Tensor]:
    """weight (R, C) -> integers (R, C) int8 on its grid, scales (R,) fp16, rounded to nearest."""
    largest, scales = grid(weight, bits, clip_sigmas)
    return round_to_grid(weight, scales, largest).to(torch.int8), scales


def round_to_grid(weight: Tensor, scales: Tensor, largest: int | Tensor) -> Tensor:
    """Integers as floats; weights are divided by the scale as rounded to fp16, which `dequantize` multiplies by."""
    if isinstance(largest, Tensor):
        return torch.minimum(torch.maximum((weight / scales.float()[..., None]).round(), -largest), largest)
    return (weight / scales.float()[..., None]).round().clamp(-largest, largest)


def round_mantissa(scales: Tensor, bits: int) -> Tensor:
    """Round positive fp16 scales to so many bits of mantissa: their low bytes are noise that codes to nothing less."""
    if bits >= 10:
        return scales
    drop = 10 - bits
    raw = scales.view(torch.int16).to(torch.int32)
    rounded = ((raw + (1 << (drop - 1))) >> drop << drop).clamp(1 << drop, 0x7BFF >> drop << drop)
    return rounded.to(torch.int16).view(torch.float16)


def dequantize(integers: Tensor, scales: Tensor) -> Tensor:
    return integers.float() * scales.float()[..., None]

"""Rotation before quantization: a Hadamard transform along a matrix's inputs spreads its outliers (arXiv 2404.00456).

`hadamard` takes fixed signs; `optrot` the signs of the smallest sum of fourth powers, OptRot's objective (arXiv
2512.24124) over random Hadamard matrices, so that a seed of one byte is stored instead of a matrix. Undone in loading.
In the challenge it cost bytes: rotated weights are closer to normal and code worse (#1898: +957 kB).
"""

import torch
from torch import Tensor

from base.runtime import generator

SEEDS = 16  # that optrot tries


def block_size(columns: int) -> int:
    """The largest power of two that divides the number of columns: blocks of so many are rotated."""
    return columns & -columns


def rotate(weights: Tensor, seed: int) -> Tensor:
    """weights (..., K) -> weights S H / sqrt(n), S diagonal signs of this seed, H Hadamard blocks of size n."""
    return _transform(weights * _signs(weights.size(-1), seed).to(weights))


def restore(rotated: Tensor, seed: int) -> Tensor:
    """The inverse of `rotate`."""
    return _transform(rotated) * _signs(rotated.size(-1), seed).to(rotated)


def rotate_hessian(hessian: Tensor, seed: int) -> Tensor:
    """R^T H R of hessian (..., K, K), for products with rotated weights."""
    return rotate(rotate(hessian, seed).transpose(-1, -2), seed).transpose(-1, -2)


def best_seed(weight: Tensor, kind: str) -> int:
    """The seed of a matrix (R, K) for this kind of rotation."""
    if kind == "hadamard":
        return 0
    return min(range(SEEDS), key=lambda seed: float(rotate(weight, seed).pow(4).sum()))


def _signs(columns: int, seed: int) -> Tensor:
    drawn = torch.randint(0, 2, (columns,), generator=generator(seed, f"rotation of {columns}"))
    return 2.0 * drawn - 1.0


def _transform(x: Tensor) -> Tensor:
    """The fast Walsh-Hadamard transform of each block of the last dimension, orthonormal and its own inverse."""
    size, shape = block_size(x.size(-1)), x.shape
    x = x.reshape(-1, size)
    half = 1
    while half < size:
        pairs = x.view(-1, size // (2 * half), 2, half)
        x = torch.stack((pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]), dim=2).view(-1, size)
        half *= 2
    return (x / size**0.5).view(shape)

"""All weights of a model in one tensor and all gradients in another, so that work on every parameter is one call.

Modules keep their parameters, which become views. Matrices of one shape lie next to each other as a bank, the layout of
Parallel Muon (#399, #549): one batched product serves all layers, and ranks can divide a bank among them.
"""

from dataclasses import dataclass
from itertools import accumulate
from math import prod

import torch
from torch import Tensor, nn

ALIGNMENT = 16  # floats; compiled kernels load vectors, and copy a parameter that does not start on such a boundary


@dataclass(frozen=True)
class Group:
    """Adjacent parameters that one optimizer moves; `weights` and `grads` are (B, m, n) for a bank, else (N,)."""

    parameters: list[nn.Parameter]
    weights: Tensor
    grads: Tensor


@dataclass(frozen=True)
class FlatParameters:
    """`weights` and `grads` (N,) in fp32, banks first; `unbanked_grads` is the part of `grads` outside the banks."""

    weights: Tensor
    grads: Tensor
    banks: list[Group]
    groups: list[Group]
    unbanked_grads: Tensor


def flatten_parameters(
    banks: list[list[nn.Parameter]], groups: list[list[nn.Parameter]], multiple: int
) -> FlatParameters:
    """Move parameters into one tensor and give each a gradient of zeros in another.

    A bank is padded with zero matrices to a multiple of `multiple`, so that as many ranks can take equal shares of it.
    """
    counts = [-(-len(bank) // multiple) * multiple for bank in banks]
    shapes = [(count, *bank[0].shape) for count, bank in zip(counts, banks, strict=True)]
    shapes += [(sum(aligned_size(parameter.numel()) for parameter in group),) for group in groups]
    starts = [0, *accumulate(aligned_size(prod(shape)) for shape in shapes)]
    device = next(parameter.device for group in banks + groups for parameter in group)
    weights, grads = (torch.zeros(starts[-1], device=device) for _ in range(2))
    flat_groups = []
    for parameters, shape, start in zip(banks + groups, shapes, starts, strict=False):
        offset = start
        for parameter in parameters:
            make_view(parameter, weights, grads, offset)
            offset += parameter.numel() if len(shape) > 1 else aligned_size(parameter.numel())
        flat_groups.append(Group(parameters, *(t[start : start + prod(shape)].view(shape) for t in (weights, grads))))
    return FlatParameters(
        weights, grads, flat_groups[: len(banks)], flat_groups[len(banks) :], grads[starts[len(banks)] :]
    )


def make_view(parameter: nn.Parameter, weights: Tensor, grads: Tensor, offset: int) -> None:
    """Copy the parameter into the flat tensors and make it and its gradient views of them."""
    end = offset + parameter.numel()
    weights[offset:end] = parameter.detach().flatten()
    parameter.data = weights[offset:end].view(parameter.shape)
    parameter.grad = grads[offset:end].view(parameter.shape)


def aligned_size(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT

"""All weights of a model in one tensor and all gradients in another: what concerns every parameter is one call.

Modules keep their parameters, which become views. Matrices of one shape lie side by side as a bank, the layout of
Parallel Muon (#399, #549): one batched product serves all layers, and ranks can share a bank out.
"""

from dataclasses import dataclass
from itertools import accumulate
from math import prod

import torch
from torch import Tensor, nn

ALIGNMENT = 16  # floats; compiled kernels load vectors, and copy a parameter that does not start on such a boundary


@dataclass(frozen=True)
class Group:
    """Neighbours in the storage that one optimiser moves; `weights` and `grads` are (B, m, n) for a bank, else (N,)."""

    parameters: list[nn.Parameter]
    weights: Tensor
    grads: Tensor


@dataclass(frozen=True)
class Storage:
    """`weights` and `grads` (N,) in fp32, matrices first; `flat` is the part of `grads` that is in no bank."""

    weights: Tensor
    grads: Tensor
    banks: list[Group]
    groups: list[Group]
    flat: Tensor


def store(banks: list[list[nn.Parameter]], groups: list[list[nn.Parameter]], multiple: int) -> Storage:
    """Move parameters into one tensor and give each a gradient of zeros in another.

    A bank is padded with zero matrices to a multiple of `multiple`, so that as many ranks can take equal shares of it.
    """
    counts = [-(-len(bank) // multiple) * multiple for bank in banks]
    shapes = [(count, *bank[0].shape) for count, bank in zip(counts, banks, strict=True)]
    shapes += [(sum(aligned(parameter.numel()) for parameter in group),) for group in groups]
    starts = [0, *accumulate(aligned(prod(shape)) for shape in shapes)]
    device = next(parameter.device for group in banks + groups for parameter in group)
    weights, grads = (torch.zeros(starts[-1], device=device) for _ in range(2))
    stored = []
    for parameters, shape, start in zip(banks + groups, shapes, starts, strict=False):
        place = start
        for parameter in parameters:
            adopt(parameter, weights, grads, place)
            place += parameter.numel() if len(shape) > 1 else aligned(parameter.numel())
        stored.append(Group(parameters, *(t[start : start + prod(shape)].view(shape) for t in (weights, grads))))
    return Storage(weights, grads, stored[: len(banks)], stored[len(banks) :], grads[starts[len(banks)] :])


def adopt(parameter: nn.Parameter, weights: Tensor, grads: Tensor, place: int) -> None:
    """Make the parameter, with its values, and its gradient views of the storage."""
    end = place + parameter.numel()
    weights[place:end] = parameter.detach().flatten()
    parameter.data = weights[place:end].view(parameter.shape)
    parameter.grad = grads[place:end].view(parameter.shape)


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT

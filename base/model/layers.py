"""The smallest pieces: parameters that know their initial values, a linear map, RMSNorm without gain."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base.runtime import generator

Fill = Callable[[Tensor, torch.Generator], object]  # fills a tensor in place


def parameter(*shape: int, init: Fill) -> nn.Parameter:
    """A parameter that carries its own initialiser, so that a model can be drawn by name (`initialise`)."""
    made = nn.Parameter(torch.empty(shape))
    made.init = init
    return made


def constant(value: float) -> Fill:
    return lambda tensor, _: tensor.fill_(value)


def normal(std: float) -> Fill:
    return lambda tensor, generator: tensor.normal_(0.0, std, generator=generator)


def orthogonal(tensor: Tensor, generator: torch.Generator) -> Tensor:
    return nn.init.orthogonal_(tensor, generator=generator)


@torch.no_grad()
def initialise(model: nn.Module, seed: int) -> None:
    """Draw every parameter from a generator keyed by (seed, its name), on the CPU for equal bits on any device."""
    for name, weight in model.named_parameters():
        drawn = torch.empty(weight.shape)
        weight.init(drawn, generator(seed, name))
        weight.copy_(drawn)


class Linear(nn.Module):
    """y = x W^T without bias; the fp32 weight (out, in) is cast to the dtype of x."""

    def __init__(self, inputs: int, outputs: int, init: Fill = orthogonal):
        super().__init__()
        self.weight = parameter(outputs, inputs, init=init)

    def forward(self, x):
        return F.linear(x, self.weight.to(x.dtype))


def rms_norm(x: Tensor) -> Tensor:
    """x / sqrt(mean(x^2) + eps) over the last dimension, no learned gain."""
    return F.rms_norm(x, (x.size(-1),))

"""The building blocks of every module: parameters with an initializer and a role, a linear map, a norm, a shift."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base.runtime import generator

Initializer = Callable[[Tensor, torch.Generator], object]  # fills a tensor in place
# A parameter's role decides which optimizer moves it (optim/optimizer.py) and how its artifact stores it (export.py).
ROLES = ("matrix", "projection", "table", "gate", "scalar", "factor")


def parameter(*shape: int, init: Initializer, role: str = "scalar") -> nn.Parameter:
    """Return a parameter that carries its own initializer, so that `initialize` can draw a model name by name."""
    weight = nn.Parameter(torch.empty(shape))
    weight.init, weight.role = init, role
    return weight


def parse_layers(slices: str, count: int) -> set[int]:
    """Return the layers out of `count` that a knob names: comma-separated indices and Python slices, '' for none."""
    layers: set[int] = set()
    for item in filter(None, slices.split(",")):
        try:
            ends = [int(part) if part.strip() else None for part in item.split(":")]
            layers.update(range(count)[slice(*ends)] if ":" in item else [range(count)[int(item)]])
        except (ValueError, TypeError, IndexError):
            raise ValueError(
                f"got layers {slices!r}, expected indices and slices of {count}, like '-4:' or '0,3'"
            ) from None
    return layers


def constant(value: float) -> Initializer:
    return lambda tensor, _: tensor.fill_(value)


def first_column(tensor: Tensor, _: torch.Generator) -> None:
    """Fill the first column with 1 and the rest with 0."""
    tensor.zero_()[:, 0] = 1.0


def normal(std: float) -> Initializer:
    return lambda tensor, generator: tensor.normal_(0.0, std, generator=generator)


def orthogonal(gain: float = 1.0) -> Initializer:
    return lambda tensor, generator: nn.init.orthogonal_(tensor, gain, generator=generator)


@torch.no_grad()
def initialize(model: nn.Module, seed: int) -> None:
    """Draw every parameter from a generator keyed by (seed, its name), on the CPU for equal bits on any device."""
    for name, weight in model.named_parameters():
        values = torch.empty(weight.shape)
        weight.init(values, generator(seed, name))
        weight.copy_(values)


class Linear(nn.Module):
    """y = x W^T without bias; the fp32 weight (out, in), orthogonal by default, is cast to the dtype of x.

    `fake_quant` (quant/fake_quant.py) is a map that training may apply to the weight before the product; `adapter`
    (evaluate/learning/adapters.py) a map of x that evaluation may add to the product.
    """

    fake_quant: Callable[[Tensor], Tensor] | None = None
    adapter: Callable[[Tensor], Tensor] | None = None

    def __init__(self, inputs: int, outputs: int, init: Initializer | None = None, role: str = "matrix"):
        super().__init__()
        self.weight = parameter(outputs, inputs, init=init or orthogonal(), role=role)

    def cast_weight(self, dtype: torch.dtype) -> Tensor:
        """Return the weight as the product reads it."""
        return (self.weight if self.fake_quant is None else self.fake_quant(self.weight)).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.cast_weight(x.dtype))
        return y if self.adapter is None else y + self.adapter(x)


def rms_norm(x: Tensor) -> Tensor:
    """x / sqrt(mean(x^2) + eps) over the last dimension, without a learned gain."""
    return F.rms_norm(x, (x.size(-1),))


def shift(x: Tensor, steps: int = 1) -> Tensor:
    """x (B, T, D) delayed by `steps` tokens; zeros come in at the start."""
    return F.pad(x, (0, 0, steps, 0))[:, : x.size(1)]

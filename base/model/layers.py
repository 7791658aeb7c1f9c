"""The smallest pieces: parameters that know their initial values and their role, a linear map, norm, shift."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base.runtime import generator

Fill = Callable[[Tensor, torch.Generator], object]  # fills a tensor in place
# What a parameter is decides how it moves (optim/optimiser.py) and what its artifact keeps of it (export.py).
ROLES = ("matrix", "projection", "table", "gate", "scalar", "factor")


def parameter(*shape: int, init: Fill, role: str = "scalar") -> nn.Parameter:
    """A parameter that carries its own initialiser, so that a model can be drawn by name (`initialise`)."""
    made = nn.Parameter(torch.empty(shape))
    made.init, made.role = init, role
    return made


def chosen(slices: str, count: int) -> set[int]:
    """Which of `count` layers a knob names: comma-separated indices and slices as Python reads them, '' for none."""
    found: set[int] = set()
    for item in filter(None, slices.split(",")):
        try:
            ends = [int(part) if part.strip() else None for part in item.split(":")]
            found.update(range(count)[slice(*ends)] if ":" in item else [range(count)[int(item)]])
        except (ValueError, TypeError, IndexError):
            raise ValueError(
                f"got layers {slices!r}, expected indices and slices of {count}, like '-4:' or '0,3'"
            ) from None
    return found


def constant(value: float) -> Fill:
    return lambda tensor, _: tensor.fill_(value)


def first_column(tensor: Tensor, _: torch.Generator) -> None:
    """1 in the first place of every row, 0 elsewhere."""
    tensor.zero_()[:, 0] = 1.0


def normal(std: float) -> Fill:
    return lambda tensor, generator: tensor.normal_(0.0, std, generator=generator)


def orthogonal(gain: float = 1.0) -> Fill:
    return lambda tensor, generator: nn.init.orthogonal_(tensor, gain, generator=generator)


@torch.no_grad()
def initialise(model: nn.Module, seed: int) -> None:
    """Draw every parameter from a generator keyed by (seed, its name), on the CPU for equal bits on any device."""
    for name, weight in model.named_parameters():
        drawn = torch.empty(weight.shape)
        weight.init(drawn, generator(seed, name))
        weight.copy_(drawn)


class Linear(nn.Module):
    """y = x W^T without bias; the fp32 weight (out, in), orthogonal unless said, is cast to the dtype of x.

    `rounding` (quant/rounding.py) is what training may set between the weight and the product.
    """

    rounding: Callable[[Tensor], Tensor] | None = None

    def __init__(self, inputs: int, outputs: int, init: Fill | None = None, role: str = "matrix"):
        super().__init__()
        self.weight = parameter(outputs, inputs, init=init or orthogonal(), role=role)

    def cast(self, dtype: torch.dtype) -> Tensor:
        """The weight as a product reads it."""
        return (self.weight if self.rounding is None else self.rounding(self.weight)).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.cast(x.dtype))


def rms_norm(x: Tensor) -> Tensor:
    """x / sqrt(mean(x^2) + eps) over the last dimension, no learned gain."""
    return F.rms_norm(x, (x.size(-1),))


def shift(x: Tensor, places: int = 1) -> Tensor:
    """x (B, T, D) moved `places` to the right in time; zeros come in at the start."""
    return F.pad(x, (0, 0, places, 0))[:, : x.size(1)]

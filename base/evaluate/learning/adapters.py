"""Low-rank adapters on a model's maps, one set per row of a batch or one for all (LoRA, arXiv 2106.09685)."""

import torch
from torch import Tensor

from base.model.gpt import GPT
from base.model.layers import Linear, parse_layers
from base.runtime import generator

TARGETS = ("q", "k", "v", "out", "mlp", "head")
SEED = 0


class Adapter:
    """x (B, T, in) -> s B A x (B, T, out) with A (B or 1, r, in) uniform in +-1/sqrt(in), B (B or 1, out, r) = 0.

    The map is absent at the start. A is drawn by the adapter's name, so every document starts with the same.
    """

    def __init__(self, name: str, rows: int, inputs: int, outputs: int, rank: int, scale: float, device: torch.device):
        bound = inputs**-0.5
        drawn = torch.empty(rank, inputs).uniform_(-bound, bound, generator=generator(SEED, f"adapter {name}"))
        self.first, self.scale = drawn.to(device), scale
        self.a = torch.empty(rows, rank, inputs, device=device, requires_grad=True)
        self.b = torch.empty(rows, outputs, rank, device=device, requires_grad=True)
        self.active: tuple[Tensor, Tensor] = (self.a, self.b)  # what the map reads: the last weights, or their mean

    def __call__(self, x: Tensor) -> Tensor:
        a, b = (weight.to(x.dtype) for weight in self.active)
        batched = x if x.dim() == 3 else x[None]
        y = self.scale * (batched @ a.mT) @ b.mT
        return y if x.dim() == 3 else y[0]


class Adapters:
    """The adapters of one model, attached to it; `parameters` are theirs."""

    def __init__(self, model: GPT, targets: str, layers: str, rows: int, rank: int, scale: float):
        names = [name.strip() for name in targets.split(",")]
        if unknown := set(names) - set(TARGETS):
            raise ValueError(
                f"got ttt_targets {targets!r}: expected some of {', '.join(TARGETS)}, not {unknown.pop()!r}"
            )
        self.adapters: list[Adapter] = []
        device = model.embedding.device
        for layer in sorted(parse_layers(layers, len(model.blocks))):
            block = model.blocks[layer]
            for name in [name for name in names if name != "head"]:
                for index, linear in enumerate(maps_of(block, name)):
                    outputs, inputs = linear.weight.shape
                    linear.adapter = Adapter(f"{layer} {name} {index}", rows, inputs, outputs, rank, scale, device)
                    self.adapters.append(linear.adapter)
        if "head" in names:
            outputs, inputs = model.output_weight.shape
            model.head_adapter = Adapter("head", rows, inputs, outputs, rank, scale, device)
            self.adapters.append(model.head_adapter)
        self.reset(slice(None))

    @property
    def parameters(self) -> list[Tensor]:
        return [weight for adapter in self.adapters for weight in (adapter.a, adapter.b)]

    def activate(self, weights: list[Tensor]) -> None:
        """Let the maps read these weights, in the order of `parameters`."""
        for adapter, pair in zip(self.adapters, zip(weights[::2], weights[1::2], strict=True), strict=True):
            adapter.active = pair

    @torch.no_grad()
    def reset(self, rows: slice) -> None:
        for adapter in self.adapters:
            adapter.a[rows] = adapter.first
            adapter.b[rows] = 0.0


def maps_of(block, name: str) -> list[Linear]:
    """The maps of a block that a target names."""
    attention = {"q": block.attention.q, "k": block.attention.k, "v": block.attention.v, "out": block.attention.out}
    return [attention[name]] if name in attention else [block.mlp.up, block.mlp.down]

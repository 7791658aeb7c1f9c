"""Muon: momentum whose matrices are made orthogonal before they are applied (Keller Jordan, 2024)."""

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(g: Tensor, steps: int) -> Tensor:
    """Quintic Newton-Schulz over the last two dimensions: singular values of g (..., m, n) move to about 1."""
    a, b, c = COEFFICIENTS
    x = g.mT if g.size(-2) > g.size(-1) else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * (s @ s)) @ x
    return x.mT if g.size(-2) > g.size(-1) else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, times sqrt(max(1, out/in)); weight decay is decoupled.

    Parameters of one shape are stacked, so a step costs one batched Newton-Schulz per shape.
    """

    def __init__(self, parameters, lr: float, weight_decay: float, momentum: float, steps: int, dtype: torch.dtype):
        super().__init__(parameters, dict(lr=lr, weight_decay=weight_decay, momentum=momentum))
        self.steps, self.dtype = steps, dtype

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            by_shape: dict[tuple, list[Tensor]] = {}
            for weight in group["params"]:
                by_shape.setdefault(tuple(weight.shape), []).append(weight)
            for weights in by_shape.values():
                self.step_shape(weights, group)

    def step_shape(self, weights: list[Tensor], group: dict) -> None:
        grads = [weight.grad for weight in weights]
        buffers = [self.state[weight].setdefault("momentum", torch.zeros_like(weight)) for weight in weights]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, grads)
        nesterov = torch._foreach_add(grads, buffers, alpha=group["momentum"])
        update = orthogonalise(torch.stack(nesterov).to(self.dtype), self.steps).to(weights[0].dtype)
        scale = max(1.0, weights[0].size(0) / weights[0].size(1)) ** 0.5
        torch._foreach_mul_(weights, 1.0 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, list(update.unbind()), alpha=-group["lr"] * scale)

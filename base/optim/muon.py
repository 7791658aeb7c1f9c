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


class Muon:
    """Nesterov momentum, orthogonalised, times sqrt(max(1, out/in)); weight decay is decoupled.

    Parameters of one shape are stacked, so a step costs one batched Newton-Schulz per shape, in `dtype`.
    """

    def __init__(
        self, weights: list[Tensor], lr: float, weight_decay: float, newton_schulz_steps: int, dtype: torch.dtype
    ):
        self.lr, self.weight_decay, self.newton_schulz_steps, self.dtype = lr, weight_decay, newton_schulz_steps, dtype
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for weight in weights:
            by_shape.setdefault(weight.shape, []).append(weight)
        self.stacks = [(stack, [torch.zeros_like(weight) for weight in stack]) for stack in by_shape.values()]

    @torch.no_grad()
    def step(self, lr_scale: float, momentum: float) -> None:
        lr = self.lr * lr_scale
        for weights, buffers in self.stacks:
            grads = [weight.grad for weight in weights]
            torch._foreach_mul_(buffers, momentum)
            torch._foreach_add_(buffers, grads)
            nesterov = torch.stack(torch._foreach_add(grads, buffers, alpha=momentum))
            update = orthogonalise(nesterov.to(self.dtype), self.newton_schulz_steps).to(nesterov.dtype)
            scale = max(1.0, update.size(-2) / update.size(-1)) ** 0.5
            torch._foreach_mul_(weights, 1.0 - lr * self.weight_decay)
            torch._foreach_add_(weights, list(update.unbind()), alpha=-lr * scale)

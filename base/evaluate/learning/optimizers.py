"""The two optimizers of test-time training; torch.optim would cost every process two seconds of imports."""

import math

import torch
from torch import Tensor

EPSILON = 1e-8


def cosine(step: int, horizon: int) -> float:
    """Share of the learning rate after `step` of `horizon` steps: 1 falling to 0; always 1 without a horizon."""
    return 0.5 * (1.0 + math.cos(math.pi * min(step / max(horizon - 1, 1), 1.0))) if horizon else 1.0


class SGD:
    """Momentum, and one clip of the whole gradient's norm."""

    def __init__(self, parameters: list[Tensor], momentum: float, clip: float):
        self.parameters, self.momentum, self.clip = parameters, momentum, clip
        self.velocity = [torch.zeros_like(weight) for weight in parameters]

    @torch.no_grad()
    def step(self, gradients: list[Tensor], lr: float) -> None:
        scale = 1.0
        if self.clip:
            norm = torch.stack([gradient.float().square().sum() for gradient in gradients]).sum().sqrt()
            scale = (self.clip / norm.clamp_min(1e-12)).clamp_max(1.0)
        for weight, velocity, gradient in zip(self.parameters, self.velocity, gradients, strict=True):
            velocity.mul_(self.momentum).add_(gradient * scale)
            weight.sub_(lr * velocity)

    def reset(self) -> None:
        for velocity in self.velocity:
            velocity.zero_()


class RowAdamW:
    """AdamW for parameters whose first dimension is rows (B, ...), each with steps and a clip of its own."""

    def __init__(self, parameters: list[Tensor], betas: tuple[float, float], weight_decay: float, clip: float):
        self.parameters, self.betas, self.weight_decay, self.clip = parameters, betas, weight_decay, clip
        self.first = [torch.zeros_like(weight) for weight in parameters]
        self.second = [torch.zeros_like(weight) for weight in parameters]
        self.steps = torch.zeros(len(parameters[0]), device=parameters[0].device)

    @torch.no_grad()
    def step(self, gradients: list[Tensor], lr: Tensor) -> None:
        """One step of each row with its lr (B,); rows with lr 0 stay as they are, steps and moments included."""
        trained = lr > 0
        self.steps += trained
        scale = torch.ones_like(lr)
        if self.clip:
            norm = torch.stack([g.float().square().flatten(1).sum(dim=1) for g in gradients]).sum(dim=0).sqrt()
            scale = (self.clip / norm.clamp_min(1e-12)).clamp_max(1.0)
        corrections = [1.0 - beta ** self.steps.clamp_min(1.0) for beta in self.betas]

        def by_row(values: Tensor, like: Tensor) -> Tensor:
            return values.view(-1, *[1] * (like.dim() - 1))

        for weight, m, v, gradient in zip(self.parameters, self.first, self.second, gradients, strict=True):
            moving = by_row(trained, weight)
            g = gradient * by_row(scale, weight)
            m.copy_(torch.where(moving, torch.lerp(g, m, self.betas[0]), m))
            v.copy_(torch.where(moving, torch.lerp(g.square(), v, self.betas[1]), v))
            mean, square = (moment / by_row(c, weight) for moment, c in zip((m, v), corrections, strict=True))
            rate = by_row(lr, weight)
            weight.mul_(1.0 - rate * self.weight_decay).sub_(rate * mean / (square.sqrt() + EPSILON))

    @torch.no_grad()
    def reset(self, rows: slice) -> None:
        for moment in (*self.first, *self.second):
            moment[rows] = 0.0
        self.steps[rows] = 0.0

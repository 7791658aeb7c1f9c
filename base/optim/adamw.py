"""AdamW (arXiv 1711.05101) on one flat tensor, by torch's own fused kernel.

Not torch.optim.AdamW: constructing any torch.optim.Optimizer imports torch._dynamo, which costs every process of a
trial two seconds.
"""

import torch
from torch import Tensor

from base.optim.flat_parameters import Group


class AdamW:
    """One group under one learning rate; weight decay is decoupled."""

    def __init__(self, group: Group, lr: float, betas: tuple[float, float], weight_decay: float, eps: float = 1e-8):
        self.group, self.lr, self.betas, self.weight_decay, self.eps = group, lr, betas, weight_decay, eps
        self.first, self.second = torch.zeros_like(group.weights), torch.zeros_like(group.weights)
        self.steps = torch.zeros((), device=group.weights.device)

    def state(self) -> list[Tensor]:
        return [self.first, self.second, self.steps]

    def step(self, lr_scale: float) -> None:
        self.steps += 1
        torch._fused_adamw_(
            *([tensor] for tensor in (self.group.weights, self.group.grads, self.first, self.second)),
            [],
            [self.steps],
            lr=self.lr * lr_scale,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=self.weight_decay,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )

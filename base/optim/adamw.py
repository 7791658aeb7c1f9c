"""AdamW (arXiv 1711.05101) over lists of tensors.

Ours, equal to torch.optim.AdamW in a test: constructing any torch.optim.Optimizer imports torch._dynamo, two seconds
of every process that a trial starts.
"""

import torch
from torch import Tensor


class AdamW:
    """One group of parameters under one learning rate; weight decay is decoupled."""

    def __init__(
        self, weights: list[Tensor], lr: float, betas: tuple[float, float], weight_decay: float, eps: float = 1e-8
    ):
        self.weights, self.lr, self.betas, self.weight_decay, self.eps = weights, lr, betas, weight_decay, eps
        self.first = [torch.zeros_like(weight) for weight in weights]
        self.second = [torch.zeros_like(weight) for weight in weights]
        self.steps = 0

    @torch.no_grad()
    def step(self, lr_scale: float) -> None:
        self.steps += 1
        lr, grads = self.lr * lr_scale, [weight.grad for weight in self.weights]
        beta1, beta2 = self.betas
        torch._foreach_lerp_(self.first, grads, 1.0 - beta1)
        torch._foreach_mul_(self.second, beta2)
        torch._foreach_addcmul_(self.second, grads, grads, value=1.0 - beta2)
        denominators = torch._foreach_sqrt(self.second)
        torch._foreach_div_(denominators, (1.0 - beta2**self.steps) ** 0.5)
        torch._foreach_add_(denominators, self.eps)
        torch._foreach_mul_(self.weights, 1.0 - lr * self.weight_decay)
        torch._foreach_addcdiv_(self.weights, self.first, denominators, value=-lr / (1.0 - beta1**self.steps))

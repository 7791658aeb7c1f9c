"""Exponential moving average of the weights: what is exported (record #414 onward)."""

import torch
from torch import nn


class Average:
    """theta_bar <- d theta_bar + (1 - d) theta, with d rising from 0 so that short runs forget their start."""

    def __init__(self, model: nn.Module, decay: float):
        self.weights = list(model.parameters())
        self.decay = decay
        self.mean = [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.mean, self.weights, 1.0 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the averaged weights into the model; with decay 0 they are the last weights."""
        torch._foreach_copy_(self.weights, self.mean)

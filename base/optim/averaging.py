"""Averages of the weights over training: what is exported instead of the last ones (EMA: #414 onward; SWA: #850)."""

import torch
from torch import Tensor

from base.config import Average as Knobs


class Average:
    """An exponential moving average (EMA) of the weights, a mean of snapshots (SWA), or a mixture of both.

    theta_bar <- d theta_bar + (1 - d) theta, with d rising from .1 so that short runs forget their start; d = 0 means
    the last weights. Snapshots are taken every swa_every steps late in training, of the weights or of their EMA.
    """

    def __init__(self, knobs: Knobs, weights: Tensor):
        self.knobs, self.weights = knobs, weights
        self.mean = weights.clone()
        self.snapshots = torch.zeros_like(weights) if knobs.swa != "none" else None
        self.taken = 0

    @torch.no_grad()
    def update(self, step: int, progress: float, lr_scale: float) -> None:
        """After `step` + 1 steps: `progress` is the share of training that is over, `lr_scale` what the step had."""
        knobs = self.knobs
        decay = min(knobs.ema_decay, (1 + step) / (10 + step))
        self.mean.lerp_(self.weights, 1.0 - decay)
        late = {"none": False, "late": progress >= 1.0 - knobs.swa_share, "tight": lr_scale < knobs.swa_lr_scale}
        if late[knobs.swa] and (step + 1) % knobs.swa_every == 0:
            self.snapshots.add_(self.mean if knobs.swa_of_ema else self.weights)
            self.taken += 1

    @torch.no_grad()
    def apply(self) -> str | None:
        """Put the average into the weights; says so if snapshots were asked for and none was taken."""
        if self.taken:
            self.mean.lerp_(self.snapshots / self.taken, self.knobs.swa_weight)
        self.weights.copy_(self.mean)
        if self.knobs.swa != "none" and not self.taken:
            return f"swa={self.knobs.swa}: no snapshot fell into its stretch of training, the EMA alone is exported"
        return None

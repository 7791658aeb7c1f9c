"""Averages of the weights over training, exported instead of the last weights (EMA: #414 onward; SWA: #850)."""

import torch
from torch import Tensor

from base.config import Average


class WeightAverage:
    """An exponential moving average (EMA) of the weights, a mean of snapshots (SWA), or a mixture of the two.

    theta_bar <- d theta_bar + (1 - d) theta, with d rising from .1 so that short runs forget their start; d = 0 means
    the last weights. Snapshots are taken every swa_every steps late in training, of the weights or of their EMA.
    """

    def __init__(self, knobs: Average, weights: Tensor):
        self.knobs, self.weights = knobs, weights
        self.ema = weights.clone()
        self.snapshot_sum = torch.zeros_like(weights) if knobs.swa != "none" else None
        self.snapshots = 0

    @torch.no_grad()
    def update(self, step: int, progress: float, lr_scale: float) -> None:
        """Add the weights after `step` + 1 steps, taken at this share of training and this learning-rate scale."""
        knobs = self.knobs
        decay = min(knobs.ema_decay, (1 + step) / (10 + step))
        self.ema.lerp_(self.weights, 1.0 - decay)
        due = {"none": False, "late": progress >= 1.0 - knobs.swa_share, "tight": lr_scale < knobs.swa_lr_scale}
        if due[knobs.swa] and (step + 1) % knobs.swa_every == 0:
            self.snapshot_sum.add_(self.ema if knobs.swa_of_ema else self.weights)
            self.snapshots += 1

    @torch.no_grad()
    def apply(self) -> str | None:
        """Copy the average into the weights; returns a warning if snapshots were asked for and none was taken."""
        if self.snapshots:
            self.ema.lerp_(self.snapshot_sum / self.snapshots, self.knobs.swa_weight)
        self.weights.copy_(self.ema)
        if self.knobs.swa != "none" and not self.snapshots:
            return f"swa={self.knobs.swa}: no snapshot was due in this run, the EMA alone is exported"
        return None

"""Mousse: Muon's update in coordinates where the curvature is even (arXiv 2603.09697; #1058, off there)."""

import torch
from torch import Tensor

from base.optim.storage import Group
from base.runtime import Runtime

DECAY, EVERY, POWER, EPSILON = 0.01, 10, 0.125, 1e-6


class Mousse:
    """Means of U U^T and U^T U over a bank; U turns into their eigenvectors and is divided by eigenvalues^POWER.

    What is orthogonalised there turns back without undoing the division. The eigenvectors are renewed every EVERY
    steps; on a GPU that waits for the device, one step in ten.
    """

    def __init__(self, bank: Group, runtime: Runtime, shared: bool):
        (_, rows, columns), device = bank.weights.shape, bank.weights.device
        self.count, self.runtime, self.shared = len(bank.parameters), runtime, shared
        self.means = [torch.zeros(size, size, device=device) for size in (rows, columns)]
        self.bases = [torch.eye(size, device=device) for size in (rows, columns)]
        self.divisors = [torch.ones(size, device=device) for size in (rows, columns)]
        self.steps = torch.zeros((), dtype=torch.int64)  # on the host: it decides what runs

    def state(self) -> list[Tensor]:
        return [*self.means, *self.bases, *self.divisors, self.steps]

    def whiten(self, update: Tensor) -> Tensor:
        """update (k, m, n) in the eigenvectors' coordinates, divided."""
        for mean, product in zip(self.means, (update @ update.mT, update.mT @ update), strict=True):
            total = product.sum(dim=0)
            mean.lerp_((self.runtime.sum_(total) if self.shared else total) / self.count, DECAY)
        if int(self.steps) % EVERY == 0:
            self.renew()
        self.steps += 1
        (left, right), (by_row, by_column) = self.bases, self.divisors
        return left.mT @ update @ right / (by_row[:, None] * by_column)

    def back(self, update: Tensor) -> Tensor:
        left, right = (basis.to(update.dtype) for basis in self.bases)
        return left @ update @ right.mT

    def renew(self) -> None:
        for mean, basis, divisor in zip(self.means, self.bases, self.divisors, strict=True):
            size = len(mean)
            even = mean * (size / mean.trace().clamp_min(EPSILON)) + EPSILON * torch.eye(size, device=mean.device)
            values, vectors = torch.linalg.eigh(even)
            basis.copy_(vectors)
            divisor.copy_(values.clamp_min(EPSILON) ** POWER)

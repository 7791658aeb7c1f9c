"""Mousse: Muon's update in coordinates of even curvature (arXiv 2603.09697; #1058, off there)."""

import torch
from torch import Tensor

from base.optim.flat_parameters import Group
from base.runtime import Runtime

DECAY, UPDATE_EVERY, POWER, EPSILON = 0.01, 10, 0.125, 1e-6


class Mousse:
    """Running means of U U^T and U^T U over a bank; U is whitened by their eigenvectors and eigenvalues^POWER.

    The orthogonalized update is rotated back without undoing the division. The eigenvectors are updated every
    UPDATE_EVERY steps; on a GPU that waits for the device, one step in ten.
    """

    def __init__(self, bank: Group, runtime: Runtime, sharded: bool):
        (_, rows, columns), device = bank.weights.shape, bank.weights.device
        self.count, self.runtime, self.sharded = len(bank.parameters), runtime, sharded
        self.means = [torch.zeros(size, size, device=device) for size in (rows, columns)]
        self.bases = [torch.eye(size, device=device) for size in (rows, columns)]
        self.divisors = [torch.ones(size, device=device) for size in (rows, columns)]
        self.steps = torch.zeros((), dtype=torch.int64)  # on the host, whose control flow it decides

    def state(self) -> list[Tensor]:
        return [*self.means, *self.bases, *self.divisors, self.steps]

    def whiten(self, update: Tensor) -> Tensor:
        """Return update (k, m, n) in the coordinates of the eigenvectors, divided; also updates the means."""
        for mean, product in zip(self.means, (update @ update.mT, update.mT @ update), strict=True):
            total = product.sum(dim=0)
            mean.lerp_((self.runtime.all_reduce_(total) if self.sharded else total) / self.count, DECAY)
        if int(self.steps) % UPDATE_EVERY == 0:
            self.update_bases()
        self.steps += 1
        (left, right), (row_divisor, column_divisor) = self.bases, self.divisors
        return left.mT @ update @ right / (row_divisor[:, None] * column_divisor)

    def unwhiten(self, update: Tensor) -> Tensor:
        """Rotate update (k, m, n) back to the coordinates of the weights."""
        left, right = (basis.to(update.dtype) for basis in self.bases)
        return left @ update @ right.mT

    def update_bases(self) -> None:
        for mean, basis, divisor in zip(self.means, self.bases, self.divisors, strict=True):
            size = len(mean)
            scaled = mean * (size / mean.trace().clamp_min(EPSILON)) + EPSILON * torch.eye(size, device=mean.device)
            values, vectors = torch.linalg.eigh(scaled)
            basis.copy_(vectors)
            divisor.copy_(values.clamp_min(EPSILON) ** POWER)

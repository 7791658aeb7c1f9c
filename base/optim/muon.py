"""Muon: momentum whose matrices are orthogonalized before they are applied (Keller Jordan, 2024)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from base.config import Optim
from base.optim.flat_parameters import Group
from base.optim.mousse import Mousse
from base.runtime import Runtime

# (a, b, c) of x <- a x + (b s + c s^2) x with s = x x^T, one per iteration; the last one repeats.
COEFFICIENTS = {
    "newton_schulz": ((3.4445, -4.7750, 2.0315),),
    "polar_express": (  # arXiv 2505.16932: each is the best polynomial for the range that the one before leaves
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ),
}


def orthogonalize(g: Tensor, steps: int, kind: str = "newton_schulz") -> Tensor:
    """Move the singular values of g (..., m, n) to about 1 by a quintic iteration over the last two dimensions."""
    coefficients, tall = COEFFICIENTS[kind], g.size(-2) > g.size(-1)
    x = (g.mT if tall else g).reshape(-1, *sorted(g.shape[-2:]))
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for step in range(steps):
        a, b, c = coefficients[min(step, len(coefficients) - 1)]
        s = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(s, s, s, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).reshape(g.shape)


class Muon:
    """Nesterov momentum, orthogonalized, times sqrt(max(1, m / n)); weight decay is decoupled; a few calls per bank.

    An update has spectral norm 1 whatever the gradient's scale, so a learning rate by layer (`lr_scales`, one of
    shape (B, 1, 1) per bank) acts on the update: #1179 and #1302 scaled gradients, which does nothing.
    With parallel_muon a rank orthogonalizes its shard of every bank: gradients arrive by reduce-scatter, updates leave
    by all-gather while the next bank is processed (#399; 83 ms a step in #549, 85 to 91 in the replicated form).
    """

    def __init__(self, optim: Optim, banks: list[Group], lr_scales: list[Tensor], runtime: Runtime):
        self.optim, self.banks, self.lr_scales, self.runtime = optim, banks, lr_scales, runtime
        self.sharded = optim.parallel_muon and runtime.world > 1
        self.shards = runtime.world if self.sharded else 1
        shapes = [(bank.grads.size(0) // self.shards, *bank.grads.shape[1:]) for bank in banks]
        self.momenta = [torch.zeros(shape, device=runtime.device) for shape in shapes]
        self.preconditioners = [Mousse(bank, runtime, self.sharded) if optim.mousse else None for bank in banks]

    def state(self) -> list[Tensor]:
        return self.momenta + [tensor for mousse in self.preconditioners if mousse for tensor in mousse.state()]

    def reduce_gradients(self) -> list[Callable[[], Tensor]]:
        """Start reductions; each call returned gives this rank's shard of a bank's gradient, summed over ranks.

        If Muon is not sharded, it gives the bank's own gradient.
        """
        if not self.sharded:
            return [lambda bank=bank: bank.grads for bank in self.banks]
        return [self.runtime.reduce_scatter(bank.grads.to(self.runtime.dtype)) for bank in self.banks]

    def local_weights(self) -> list[Tensor]:
        """Return this rank's shard of each bank's weights, in the shapes of `reduce_gradients`."""
        return [bank.weights.chunk(self.shards)[self.runtime.rank if self.sharded else 0] for bank in self.banks]

    def gather_updates(self, gradients: list[Tensor], momentum: float) -> list[Callable[[], Tensor]]:
        """Compute updates and start gathering them; each call returned gives a whole bank's update (B, m, n)."""
        pending = []
        for gradient, buffer, mousse in zip(gradients, self.momenta, self.preconditioners, strict=True):
            buffer.mul_(momentum).add_(gradient)
            update = self.orthogonalize_update(torch.add(gradient, buffer, alpha=momentum), mousse)
            pending.append(self.runtime.all_gather(update) if self.sharded else lambda update=update: update)
        return pending

    def orthogonalize_update(self, update: Tensor, mousse: Mousse | None) -> Tensor:
        """update (k, m, n) -> its orthogonal factor, with the preconditioning that the knobs ask for."""
        if mousse:
            update = mousse.whiten(update)
        if self.optim.muon_row_norm:  # MuonEq-R (#1260)
            update = F.normalize(update, dim=-1, eps=1e-7)
        update = orthogonalize(update.to(self.runtime.dtype), self.optim.newton_schulz_steps, self.optim.orthogonaliser)
        return mousse.unwhiten(update) if mousse else update

    def apply(self, updates: list[Callable[[], Tensor]], lr_scale: float) -> None:
        """Wait for each update and move its bank's weights."""
        lr = self.optim.matrix_lr * lr_scale
        for bank, lr_scales, update in zip(self.banks, self.lr_scales, updates, strict=True):
            rate = lr * lr_scales
            bank.weights.mul_(1.0 - self.optim.weight_decay * rate)
            shape_factor = max(1.0, bank.weights.size(-2) / bank.weights.size(-1)) ** 0.5
            bank.weights.addcmul_(update().to(bank.weights.dtype), rate, value=-shape_factor)

"""Muon: momentum whose matrices are made orthogonal before they are applied (Keller Jordan, 2024)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from base.config import Optim
from base.optim.mousse import Mousse
from base.optim.storage import Group
from base.runtime import Runtime

# (a, b, c) of x <- a x + (b s + c s^2) x with s = x x^T, an iteration each; the last goes on.
COEFFICIENTS = {
    "newton_schulz": ((3.4445, -4.7750, 2.0315),),
    "polar_express": (  # arXiv 2505.16932: the best polynomial for where the values of the one before have come to lie
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ),
}


def orthogonalise(g: Tensor, steps: int, kind: str = "newton_schulz") -> Tensor:
    """Quintic iteration over the last two dimensions: singular values of g (..., m, n) move to about 1."""
    table, tall = COEFFICIENTS[kind], g.size(-2) > g.size(-1)
    x = (g.mT if tall else g).reshape(-1, *sorted(g.shape[-2:]))
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for step in range(steps):
        a, b, c = table[min(step, len(table) - 1)]
        s = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(s, s, s, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).reshape(g.shape)


class Muon:
    """Nesterov momentum, orthogonalised, times sqrt(max(1, m / n)); weight decay is decoupled; a few calls per bank.

    An update has spectral norm 1 whatever the gradient's scale, so a learning rate by layer (`lr_scales`, one of
    shape (B, 1, 1) per bank) acts on the update: #1179 and #1302 scaled gradients, which does nothing.
    With parallel_muon a rank orthogonalises its share of every bank: gradients arrive by reduce-scatter, updates leave
    by all-gather while the next bank is worked on (#399; 83 ms a step in #549 where the replicated form took 85 to 91).
    """

    def __init__(self, optim: Optim, banks: list[Group], lr_scales: list[Tensor], runtime: Runtime):
        self.optim, self.banks, self.lr_scales, self.runtime = optim, banks, lr_scales, runtime
        self.shared = optim.parallel_muon and runtime.world > 1
        self.share = runtime.world if self.shared else 1
        shapes = [(bank.grads.size(0) // self.share, *bank.grads.shape[1:]) for bank in banks]
        self.momenta = [torch.zeros(shape, device=runtime.device) for shape in shapes]
        self.curvature = [Mousse(bank, runtime, self.shared) if optim.mousse else None for bank in banks]

    def state(self) -> list[Tensor]:
        return self.momenta + [tensor for mousse in self.curvature if mousse for tensor in mousse.state()]

    def send_gradients(self) -> list[Callable[[], Tensor]]:
        """Calls that return this rank's share of each bank's gradient, summed over ranks; unshared, the bank's own."""
        if not self.shared:
            return [lambda bank=bank: bank.grads for bank in self.banks]
        return [self.runtime.reduce_scatter(bank.grads.to(self.runtime.dtype)) for bank in self.banks]

    def own_weights(self) -> list[Tensor]:
        """This rank's share of each bank's weights, as `send_gradients` gives it the gradients."""
        return [bank.weights.chunk(self.share)[self.runtime.rank if self.shared else 0] for bank in self.banks]

    def send_updates(self, gradients: list[Tensor], momentum: float) -> list[Callable[[], Tensor]]:
        """Calls that return each whole bank's update (B, m, n), once every rank's share of it has come."""
        travelling = []
        for gradient, buffer, mousse in zip(gradients, self.momenta, self.curvature, strict=True):
            buffer.mul_(momentum).add_(gradient)
            update = self.orthogonal(torch.add(gradient, buffer, alpha=momentum), mousse)
            travelling.append(self.runtime.all_gather(update) if self.shared else lambda update=update: update)
        return travelling

    def orthogonal(self, update: Tensor, mousse: Mousse | None) -> Tensor:
        """update (k, m, n) -> its orthogonal factor, by what the knobs ask for."""
        if mousse:
            update = mousse.whiten(update)
        if self.optim.muon_row_norm:  # MuonEq-R (#1260)
            update = F.normalize(update, dim=-1, eps=1e-7)
        update = orthogonalise(update.to(self.runtime.dtype), self.optim.newton_schulz_steps, self.optim.orthogonaliser)
        return mousse.back(update) if mousse else update

    def apply(self, travelling: list[Callable[[], Tensor]], lr_scale: float) -> None:
        lr = self.optim.matrix_lr * lr_scale
        for bank, lr_scales, update in zip(self.banks, self.lr_scales, travelling, strict=True):
            rate = lr * lr_scales
            bank.weights.mul_(1.0 - self.optim.weight_decay * rate)
            wider = max(1.0, bank.weights.size(-2) / bank.weights.size(-1)) ** 0.5
            bank.weights.addcmul_(update().to(bank.weights.dtype), rate, value=-wider)

"""One optimiser step over the whole model: gradients of all ranks, clipping, Muon, AdamW while updates travel."""

import torch
from torch import Tensor, nn

from base.config import Config, Optim
from base.model.layers import ROLES, chosen
from base.optim.adamw import AdamW
from base.optim.muon import Muon
from base.optim.storage import Group, store
from base.quant import rounding
from base.runtime import Runtime


class Optimiser:
    """Muon for matrices, AdamW for embedding tables and for gains, mixes and gates, by the roles of the parameters.

    Everything is a few calls on the storage: none grows with the number of layers, none waits for the device (but
    Mousse, every tenth step).
    """

    def __init__(self, config: Config, model: nn.Module, runtime: Runtime):
        optim = config.optim
        roles: dict[str, list[nn.Parameter]] = {role: [] for role in ROLES}
        for name, weight in model.named_parameters():
            if getattr(weight, "role", None) not in roles:
                raise ValueError(f"no optimiser for {name}; make it with model.layers.parameter and a role of {ROLES}")
            roles[weight.role].append(weight)
        projections = roles["projection"] if optim.adamw_projections else []
        banks: dict[torch.Size, list[nn.Parameter]] = {}
        for weight in roles["matrix"] + ([] if projections else roles["projection"]):
            banks.setdefault(weight.shape, []).append(weight)
        largest_first = sorted(banks.values(), key=lambda bank: -len(bank) * bank[0].numel())
        groups = [
            (optim.embed_lr, optim.weight_decay, roles["table"]),
            (optim.scalar_lr, optim.scalar_weight_decay, roles["scalar"] + roles["gate"] + projections),
            (optim.scalar_lr, 0.0, roles["factor"]),
        ]
        groups = [group for group in groups if group[2]]
        self.config, self.runtime = config, runtime
        self.storage = store(largest_first, [parameters for *_, parameters in groups], runtime.world)
        late = late_matrices(optim, model, config.model.num_layers)
        self.muon = Muon(
            optim, self.storage.banks, [lr_scales(optim, bank, late) for bank in self.storage.banks], runtime
        )
        self.adamws = [
            AdamW(group, lr, (optim.beta1, optim.beta2), weight_decay)
            for (lr, weight_decay, _), group in zip(groups, self.storage.groups, strict=True)
        ]

    def state(self) -> list[Tensor]:
        """Every tensor that a step changes, the weights included."""
        return [
            self.storage.weights,
            self.storage.grads,
            *self.muon.state(),
            *sum((a.state() for a in self.adamws), []),
        ]

    @torch.no_grad()
    def step(self, lr_scale: float, momentum: float, crown_q: float = 0.0) -> None:
        """Move the weights by the gradients in the storage, which are this rank's part of a sum, and zero these."""
        shares = self.muon.send_gradients()
        self.runtime.sum_(self.storage.flat if self.muon.shared else self.storage.grads)
        gradients = [share().float() for share in shares]
        if crown_q:
            for gradient, weights in zip(gradients, self.muon.own_weights(), strict=True):
                gradient.add_(rounding.crown_q_gradient(weights, self.config.quant.matrix_bits, crown_q))
        if self.config.optim.grad_clip > 0:
            self.clip(gradients)
        updates = self.muon.send_updates(gradients, momentum)
        for adamw in self.adamws:
            adamw.step(lr_scale)
        self.muon.apply(updates, lr_scale)
        self.storage.grads.zero_()

    def clip(self, gradients: list[Tensor]) -> None:
        """Scale all gradients to a global norm of at most grad_clip: of their sum over ranks, so all ranks agree.

        #1019 and its heirs clip each rank's own gradient before the reduction, every rank by another factor.
        """
        parts = [*gradients, self.storage.flat]
        squares = torch.stack(torch._foreach_norm(parts, dtype=torch.float32)).square()
        if self.muon.shared:
            squares[:-1] = self.runtime.sum_(squares[:-1].contiguous())
        norm = squares.sum().sqrt()
        torch._foreach_mul_(parts, (self.config.optim.grad_clip / (norm + 1e-6)).clamp_max(1.0))


def late_matrices(optim: Optim, model: nn.Module, layers: int) -> set[int]:
    """Which parameters are of the layers that `late_layers` names, by identity."""
    names = tuple(f"blocks.{layer}." for layer in chosen(optim.late_layers, layers))
    return {id(weight) for name, weight in model.named_parameters() if name.startswith(names)} if names else set()


def lr_scales(optim: Optim, bank: Group, late: set[int]) -> Tensor:
    """Learning rate of each matrix of a bank over matrix_lr (B, 1, 1)."""
    scales = torch.ones(len(bank.weights), 1, 1)
    for place, weight in enumerate(bank.parameters):
        scales[place] = optim.late_lr_scale if id(weight) in late else 1.0
    return scales.to(bank.weights.device)

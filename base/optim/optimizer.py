"""The optimizer step of the whole model: reduce gradients, clip, Muon, and AdamW while Muon's updates are gathered."""

import torch
from torch import Tensor, nn

from base.config import Config, Optim
from base.model.layers import ROLES, parse_layers
from base.optim.adamw import AdamW
from base.optim.flat_parameters import Group, flatten_parameters
from base.optim.muon import Muon
from base.quant.fake_quant import crown_q_gradient
from base.runtime import Runtime


class Optimizer:
    """Muon for matrices, AdamW for embedding tables and for gains, mixes and gates, by the roles of the parameters.

    A step is a few calls on the flat tensors: their number does not grow with the layers, and none waits for the device
    (except Mousse, every tenth step).
    """

    def __init__(self, config: Config, model: nn.Module, runtime: Runtime):
        optim = config.optim
        by_role: dict[str, list[nn.Parameter]] = {role: [] for role in ROLES}
        for name, weight in model.named_parameters():
            if getattr(weight, "role", None) not in by_role:
                raise ValueError(f"no optimizer for {name}; make it with model.layers.parameter and a role of {ROLES}")
            by_role[weight.role].append(weight)
        projections = by_role["projection"] if optim.adamw_projections else []
        banks: dict[torch.Size, list[nn.Parameter]] = {}
        for weight in by_role["matrix"] + ([] if projections else by_role["projection"]):
            banks.setdefault(weight.shape, []).append(weight)
        largest_first = sorted(banks.values(), key=lambda bank: -len(bank) * bank[0].numel())
        groups = [
            (optim.embed_lr, optim.weight_decay, by_role["table"]),
            (optim.scalar_lr, optim.scalar_weight_decay, by_role["scalar"] + by_role["gate"] + projections),
            (optim.scalar_lr, 0.0, by_role["factor"]),
        ]
        groups = [group for group in groups if group[2]]
        self.config, self.runtime = config, runtime
        self.flat = flatten_parameters(largest_first, [parameters for *_, parameters in groups], runtime.world)
        late = late_matrices(optim, model, config.model.num_layers)
        self.muon = Muon(optim, self.flat.banks, [lr_scales(optim, bank, late) for bank in self.flat.banks], runtime)
        self.adamws = [
            AdamW(group, lr, (optim.beta1, optim.beta2), weight_decay)
            for (lr, weight_decay, _), group in zip(groups, self.flat.groups, strict=True)
        ]

    def state(self) -> list[Tensor]:
        """Return every tensor that a step changes, the weights included."""
        return [
            self.flat.weights,
            self.flat.grads,
            *self.muon.state(),
            *sum((adamw.state() for adamw in self.adamws), []),
        ]

    @torch.no_grad()
    def step(self, lr_scale: float, momentum: float, crown_q: float = 0.0) -> None:
        """Sum this rank's gradients over all ranks, move the weights by them, and zero the gradients."""
        pending = self.muon.reduce_gradients()
        self.runtime.all_reduce_(self.flat.unbanked_grads if self.muon.sharded else self.flat.grads)
        gradients = [gradient().float() for gradient in pending]
        if crown_q:
            for gradient, weights in zip(gradients, self.muon.local_weights(), strict=True):
                gradient.add_(crown_q_gradient(weights, self.config.quant.matrix_bits, crown_q))
        if self.config.optim.grad_clip > 0:
            self.clip(gradients)
        updates = self.muon.gather_updates(gradients, momentum)
        for adamw in self.adamws:
            adamw.step(lr_scale)
        self.muon.apply(updates, lr_scale)
        self.flat.grads.zero_()

    def clip(self, gradients: list[Tensor]) -> None:
        """Scale all gradients to a global norm of at most grad_clip: of their sum over ranks, so all ranks agree.

        #1019 and its heirs clip each rank's own gradient before the reduction, every rank by another factor.
        """
        parts = [*gradients, self.flat.unbanked_grads]
        squares = torch.stack(torch._foreach_norm(parts, dtype=torch.float32)).square()
        if self.muon.sharded:
            squares[:-1] = self.runtime.all_reduce_(squares[:-1].contiguous())
        norm = squares.sum().sqrt()
        torch._foreach_mul_(parts, (self.config.optim.grad_clip / (norm + 1e-6)).clamp_max(1.0))


def late_matrices(optim: Optim, model: nn.Module, layers: int) -> set[int]:
    """Return the ids of the parameters in the layers that `late_layers` names."""
    prefixes = tuple(f"blocks.{layer}." for layer in parse_layers(optim.late_layers, layers))
    return {id(weight) for name, weight in model.named_parameters() if name.startswith(prefixes)} if prefixes else set()


def lr_scales(optim: Optim, bank: Group, late: set[int]) -> Tensor:
    """Learning rate of each matrix of a bank over matrix_lr (B, 1, 1)."""
    scales = torch.ones(len(bank.weights), 1, 1)
    for index, weight in enumerate(bank.parameters):
        scales[index] = optim.late_lr_scale if id(weight) in late else 1.0
    return scales.to(bank.weights.device)

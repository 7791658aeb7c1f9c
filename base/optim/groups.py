"""Which parameter goes to which optimiser, by its role: matrices to Muon, all else to AdamW."""

import torch
from torch import nn

from base.config import Config
from base.model.layers import ROLES
from base.optim.adamw import AdamW
from base.optim.muon import Muon


def optimisers(config: Config, model: nn.Module, dtype: torch.dtype) -> tuple[Muon, list[AdamW]]:
    """Muon for the matrices, AdamW for embedding tables and for gains, mixes and gates."""
    optim = config.optim
    groups: dict[str, list[nn.Parameter]] = {role: [] for role in ROLES}
    for name, weight in model.named_parameters():
        if getattr(weight, "role", None) not in groups:
            raise ValueError(f"no optimiser for {name}; make it with model.layers.parameter and a role of {ROLES}")
        groups[weight.role].append(weight)
    betas = (optim.beta1, optim.beta2)
    return Muon(groups["matrix"], optim.matrix_lr, optim.weight_decay, optim.newton_schulz_steps, dtype), [
        AdamW(groups["table"], optim.embed_lr, betas, optim.weight_decay),
        AdamW(groups["scalar"] + groups["gate"], optim.scalar_lr, betas, optim.scalar_weight_decay),
    ]

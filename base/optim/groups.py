"""Which parameter goes to which optimiser: matrices of the blocks to Muon, all else to AdamW."""

import torch
from torch import nn

from base.config import Config
from base.optim.muon import Muon


def optimisers(config: Config, model: nn.Module, dtype: torch.dtype) -> tuple[Muon, torch.optim.AdamW]:
    """Each group keeps its initial rate under `initial_lr`, which the schedule scales."""
    optim = config.optim
    named = dict(model.named_parameters())
    matrices = [weight for name, weight in named.items() if name.startswith("blocks.") and weight.ndim == 2]
    scalars = [weight for weight in named.values() if weight.ndim == 1]
    muon = Muon(matrices, optim.matrix_lr, optim.weight_decay, optim.muon_momentum, optim.newton_schulz_steps, dtype)
    adamw = torch.optim.AdamW(
        [dict(params=[named["embedding"]], lr=optim.embed_lr), dict(params=scalars, lr=optim.scalar_lr)],
        betas=(optim.beta1, optim.beta2),
        eps=1e-8,
        weight_decay=optim.weight_decay,
    )
    covered = sum(len(group["params"]) for optimiser in (muon, adamw) for group in optimiser.param_groups)
    if covered != len(named):
        raise ValueError(f"expected every one of {len(named)} parameters in one optimiser group, got {covered}")
    for optimiser in (muon, adamw):
        for group in optimiser.param_groups:
            group["initial_lr"] = group["lr"]
    return muon, adamw

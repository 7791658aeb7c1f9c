"""Which parameter goes to which optimiser: matrices of the blocks to Muon, all else to AdamW."""

import torch
from torch import nn

from base.config import Config
from base.optim.adamw import AdamW
from base.optim.muon import Muon


def optimisers(config: Config, model: nn.Module, dtype: torch.dtype) -> tuple[Muon, list[AdamW]]:
    """Muon for the matrices, AdamW for the embedding and for gains and mixes."""
    optim = config.optim
    named = dict(model.named_parameters())
    matrices = {name: weight for name, weight in named.items() if name.startswith("blocks.") and weight.ndim == 2}
    scalars = {name: weight for name, weight in named.items() if weight.ndim == 1}
    left = named.keys() - matrices.keys() - scalars.keys() - {"embedding"}
    if left:
        raise ValueError(f"no optimiser for {sorted(left)}; give each to a group here")
    betas = (optim.beta1, optim.beta2)
    return Muon(list(matrices.values()), optim.matrix_lr, optim.weight_decay, optim.newton_schulz_steps, dtype), [
        AdamW([named["embedding"]], optim.embed_lr, betas, optim.weight_decay),
        AdamW(list(scalars.values()), optim.scalar_lr, betas, optim.weight_decay),
    ]

"""Multi-token prediction: heads that predict later tokens in training and are not exported (arXiv 2404.19737)."""

import torch
from torch import Tensor, nn

from base.config import Config
from base.model.layers import constant, parameter


class MultiTokenPrediction(nn.Module):
    """Hidden (B, T, D), targets (B, T) -> weight * mean over heads k of the loss of the token k positions further on.

    Each head is a matrix (V, D) = 0. At this size every report is a loss (+.001 to +.009 bpb, techniques A23).
    """

    def __init__(self, config: Config):
        super().__init__()
        self.weight = config.model.mtp_weight
        shape = config.model.vocab_size, config.model.model_dim
        heads = range(config.model.mtp_heads)
        self.heads = nn.ParameterList(parameter(*shape, init=constant(0.0), role="table") for _ in heads)

    def forward(self, hidden: Tensor, targets: Tensor, cross_entropy) -> Tensor:
        losses = [
            cross_entropy(hidden[:, :-offset].flatten(0, 1), head, targets[:, offset:].flatten())
            for offset, head in enumerate(self.heads, start=1)
        ]
        return self.weight * torch.stack(losses).mean()

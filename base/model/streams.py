"""Static hyper-connections (arXiv 2409.19606): several residual streams with learned reads and writes per layer."""

import torch
from torch import Tensor, nn

from base.config import Config
from base.model.layers import first_column, parameter


class Streams(nn.Module):
    """n streams H_0 = x (B, T, D) and others (n-1, B, T, D) = 0, summed at the end.

    A layer sees h = sum_j a_j H_j and adds d: H_j <- H_j + b_j d. a and b start as (1, 0, ..), the plain network.
    #738 carries n = 1, two learned factors a layer; as the paper has it, they do not decay.
    """

    def __init__(self, config: Config):
        super().__init__()
        shape = config.model.num_layers, config.residual.hyper_streams
        self.reads, self.writes = (parameter(*shape, init=first_column, role="factor") for _ in range(2))

    def start(self, x: Tensor) -> Tensor:
        return x.new_zeros(self.reads.size(1) - 1, *x.shape)

    def read(self, x: Tensor, others: Tensor, layer: int) -> Tensor:
        share = self.reads[layer].to(x.dtype)
        return share[0] * x + torch.einsum("n,nbtd->btd", share[1:], others)

    def write(self, x: Tensor, others: Tensor, added: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        share = self.writes[layer].to(x.dtype)
        return x + share[0] * added, others + share[1:, None, None, None] * added

"""Static hyper-connections (arXiv 2409.19606): multiple residual streams with learned reads and writes per layer."""

import torch
from torch import Tensor, nn

from base.config import Config
from base.model.layers import first_column, parameter


class HyperConnections(nn.Module):
    """n streams: H_0 = x (B, T, D), and n-1 extra streams (n-1, B, T, D) = 0; their sum is the output.

    A layer reads h = sum_j a_j H_j and writes its update d: H_j <- H_j + b_j d. a and b start as (1, 0, ..), the plain
    network. #738 has n = 1, two learned factors per layer; as in the paper, they do not decay.
    """

    def __init__(self, config: Config):
        super().__init__()
        shape = config.model.num_layers, config.residual.hyper_streams
        self.reads, self.writes = (parameter(*shape, init=first_column, role="factor") for _ in range(2))

    def start(self, x: Tensor) -> Tensor:
        """Return the extra streams before the first layer."""
        return x.new_zeros(self.reads.size(1) - 1, *x.shape)

    def read(self, x: Tensor, extra_streams: Tensor, layer: int) -> Tensor:
        weights = self.reads[layer].to(x.dtype)
        return weights[0] * x + torch.einsum("n,nbtd->btd", weights[1:], extra_streams)

    def write(self, x: Tensor, extra_streams: Tensor, update: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        weights = self.writes[layer].to(x.dtype)
        return x + weights[0] * update, extra_streams + weights[1:, None, None, None] * update

"""Two-lane parallel residuals (#1530): attention and MLP each read their own lane and write to both."""

from torch import Tensor, nn

from base.model.attention.grouped_query import ForwardContext
from base.model.layers import constant, parameter
from base.model.residual.block import Block

KEEP_INIT = 1.1  # factor of a lane on itself (#1530)


class ParallelResidual(nn.Module):
    """One layer: attention lane a and MLP lane b (B, T, D) -> a, b.

    A = attention of a (mixed with x0), M = MLP of b; a <- r0 a + p00 A + p10 M, b <- r1 b + p01 A + p11 M, with
    r = 1.1 and p = 1 at the start. Both lanes start as x, and their mean is the output of the last layer.
    """

    def __init__(self):
        super().__init__()
        self.keep = parameter(2, init=constant(KEEP_INIT))
        self.post = parameter(4, init=constant(1.0))  # p00, p01, p10, p11

    def forward(self, block: Block, a: Tensor, b: Tensor, context: ForwardContext) -> tuple[Tensor, Tensor]:
        keep, post = self.keep.to(a.dtype), self.post.to(a.dtype)
        attention_out, mlp_out = block.attention_out(block.mix_x0(a, context), context), block.mlp_out(b)
        return (
            keep[0] * a + post[0] * attention_out + post[2] * mlp_out,
            keep[1] * b + post[1] * attention_out + post[3] * mlp_out,
        )

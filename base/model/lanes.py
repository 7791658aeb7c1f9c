"""Two-lane parallel residuals (#1530): attention and MLP read lanes of their own and write to both."""

from torch import Tensor, nn

from base.model.attention import Shared
from base.model.block import Block
from base.model.layers import constant, parameter

KEEP = 1.1  # a lane's own share (#1530)


class Lanes(nn.Module):
    """One layer: lanes a and b (B, T, D) -> a, b.

    A = attention of a (mixed with x0), M = MLP of b; a <- r0 a + p00 A + p10 M, b <- r1 b + p01 A + p11 M, with
    r = 1.1 and p = 1 at the start. Both lanes start as x, and the mean of the two goes on after the last layer.
    """

    def __init__(self):
        super().__init__()
        self.keep = parameter(2, init=constant(KEEP))
        self.post = parameter(4, init=constant(1.0))  # p00, p01, p10, p11

    def forward(self, block: Block, a: Tensor, b: Tensor, shared: Shared) -> tuple[Tensor, Tensor]:
        keep, post = self.keep.to(a.dtype), self.post.to(a.dtype)
        heard, thought = block.attended(block.mixed(a, shared), shared), block.transformed(b)
        return (
            keep[0] * a + post[0] * heard + post[2] * thought,
            keep[1] * b + post[1] * heard + post[3] * thought,
        )

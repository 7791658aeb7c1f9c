"""LeakyReLU(s)^2 inside the matrix products around it (2026-04-27 record); eager reference: model/mlp.py.

The activation of a (tokens, 4 D) tensor costs a read and a write of it each way. Here the up-projection writes the
activated tensor itself, and the backward product multiplies by the derivative before it writes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, COLUMNS, INNER = 128, 128, 64  # of one program's tile
OPTIONS = {"num_warps": 8, "num_stages": 3}


@triton.jit
def product_kernel(
    a_ptr, b_ptr, u_ptr, out_ptr, rows, columns, b_inner_stride, b_column_stride, slope,
    inner: tl.constexpr, BACKWARD: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """One tile of a (rows, inner) @ b (inner, columns).

    Forward: the product u and leaky(u)^2. BACKWARD: the product times d leaky(u)^2 / du, with u read.
    """
    i = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    j = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for start in range(0, inner, INNER):
        k = start + tl.arange(0, INNER)
        a = tl.load(a_ptr + i[:, None] * inner + k[None, :], mask=(i[:, None] < rows) & (k[None, :] < inner), other=0.0)
        b_pointers = b_ptr + k[:, None] * b_inner_stride + j[None, :] * b_column_stride
        b = tl.load(b_pointers, mask=(k[:, None] < inner) & (j[None, :] < columns), other=0.0)
        total = tl.dot(a, b, total)
    offsets, in_tile = i[:, None] * columns + j[None, :], (i[:, None] < rows) & (j[None, :] < columns)
    if BACKWARD:
        u = tl.load(u_ptr + offsets, mask=in_tile, other=0.0).to(tl.float32)
        out = total * tl.where(u > 0, 2 * u, 2 * slope * slope * u)
    else:
        u = total.to(u_ptr.dtype.element_ty)
        tl.store(u_ptr + offsets, u, mask=in_tile)
        u = u.to(tl.float32)
        out = tl.where(u > 0, u * u, slope * slope * u * u)
    tl.store(out_ptr + offsets, out.to(out_ptr.dtype.element_ty), mask=in_tile)


def product(a: Tensor, b: Tensor, u: Tensor, slope: float, backward: bool) -> Tensor:
    """a (N, K), b (K, H) of any strides, u (N, H) -> (N, H); u is written, or read if `backward`."""
    out = torch.empty_like(u)
    grid = triton.cdiv(u.size(0), ROWS), triton.cdiv(u.size(1), COLUMNS)
    product_kernel[grid](
        a, b, u, out, *u.shape, *b.stride(), slope,
        inner=a.size(1), BACKWARD=backward, ROWS=ROWS, COLUMNS=COLUMNS, INNER=INNER, **OPTIONS,
    )  # fmt: skip
    return out


class FusedMLP(torch.autograd.Function):
    """x (N, D), up (H, D), down (D, H) -> leaky(x up^T)^2 down^T (N, D), all of one dtype."""

    @staticmethod
    def forward(ctx, x: Tensor, up: Tensor, down: Tensor, slope: float) -> Tensor:
        u = x.new_empty(len(x), len(up))
        hidden = product(x, up.T, u, slope, backward=False)
        ctx.save_for_backward(x, up, down, u, hidden)
        ctx.slope = slope
        return hidden @ down.T

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, up, down, u, hidden = ctx.saved_tensors
        grad = grad.contiguous()
        grad_u = product(grad, down, u, ctx.slope, backward=True)
        return grad_u @ up, grad_u.T @ x, grad.T @ hidden, None


def fused_mlp(x: Tensor, up: Tensor, down: Tensor, slope: float) -> Tensor:
    """x (B, T, D), up (H, D), down (D, H) -> (B, T, D)."""
    return FusedMLP.apply(x.flatten(0, -2).contiguous(), up, down, slope).view_as(x)

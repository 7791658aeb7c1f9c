"""Softcapped cross-entropy in one pass over the logits each way (#1787); eager reference: model/loss.py.

Eager code reads and writes the (N, V) logits some ten times. Here the forward reads them once, and the backward reads
them once and writes the gradient over them. c tanh(z / c) = 2 c sigmoid(2 z / c) - c, whose slope is 4 s (1 - s).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit
def forward_kernel(z_ptr, target_ptr, loss_ptr, log_sum_ptr, cap, vocab_size: tl.constexpr, BLOCK: tl.constexpr):
    """One row's loss in nats and the logarithm of its sum of exponentials, which cannot overflow below c = 80."""
    row = tl.program_id(0).to(tl.int64)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, vocab_size, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        in_row = columns < vocab_size
        z = tl.load(z_ptr + row * vocab_size + columns, mask=in_row, other=0.0).to(tl.float32)
        logits = 2 * cap * tl.sigmoid(2 * z / cap) - cap
        total += tl.where(in_row, tl.exp(logits), 0.0)
    log_sum = tl.log(tl.sum(total, axis=0))
    target_z = tl.load(z_ptr + row * vocab_size + tl.load(target_ptr + row)).to(tl.float32)
    tl.store(loss_ptr + row, log_sum - (2 * cap * tl.sigmoid(2 * target_z / cap) - cap))
    tl.store(log_sum_ptr + row, log_sum)


@triton.jit
def backward_kernel(z_ptr, target_ptr, log_sum_ptr, scale_ptr, cap, vocab_size: tl.constexpr, BLOCK: tl.constexpr):
    """One row of d loss / dz, written over z."""
    row = tl.program_id(0).to(tl.int64)
    target, log_sum, scale = tl.load(target_ptr + row), tl.load(log_sum_ptr + row), tl.load(scale_ptr)
    for start in range(0, vocab_size, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        in_row = columns < vocab_size
        pointers = z_ptr + row * vocab_size + columns
        sigmoid = tl.sigmoid(2 * tl.load(pointers, mask=in_row, other=0.0).to(tl.float32) / cap)
        error = tl.exp(2 * cap * sigmoid - cap - log_sum) - tl.where(columns == target, 1.0, 0.0)
        grad = scale * error * 4 * sigmoid * (1 - sigmoid)
        tl.store(pointers, grad.to(z_ptr.dtype.element_ty), mask=in_row)


class FusedCrossEntropy(torch.autograd.Function):
    """z (N, V) before the cap, targets (N,) -> mean loss in nats. The backward overwrites z: use it nowhere else."""

    @staticmethod
    def forward(ctx, z: Tensor, targets: Tensor, cap: float) -> Tensor:
        losses, log_sums = (torch.empty(len(z), dtype=torch.float32, device=z.device) for _ in range(2))
        forward_kernel[(len(z),)](z, targets, losses, log_sums, cap, z.size(1), BLOCK=BLOCK)
        ctx.save_for_backward(z, targets, log_sums)
        ctx.cap = cap
        return losses.mean()

    @staticmethod
    def backward(ctx, grad_loss: Tensor):
        z, targets, log_sums = ctx.saved_tensors
        scale = grad_loss.float() / len(z)
        backward_kernel[(len(z),)](z, targets, log_sums, scale, ctx.cap, z.size(1), BLOCK=BLOCK)
        return z, None, None


def fused_cross_entropy(z: Tensor, targets: Tensor, cap: float) -> Tensor:
    """z (N, V) contiguous, before the cap; targets (N,) -> mean loss in nats."""
    return FusedCrossEntropy.apply(z.contiguous(), targets.contiguous(), cap)

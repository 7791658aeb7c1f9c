"""Softcapped cross-entropy fused with the output head, in chunks of rows that stay in cache.

The logits of a batch (tokens x V) cost more memory traffic than the rest of a small model, several times over in
autograd. Each chunk's logits are computed, turned into loss and gradient, and dropped (the idea of Liger's fused linear
cross-entropy, arXiv 2410.10989, with the softcap inside). The reference is `cross_entropy(logits(h), y)`.
"""

import torch
from torch import Tensor

CHUNK_ROWS = 512


def softcap(z: Tensor, cap: float) -> Tensor:
    """c tanh(z / c), elementwise; 0 = uncapped."""
    return cap * torch.tanh(z / cap) if cap else z


def softcapped_cross_entropy(
    hidden: Tensor, head: Tensor, targets: Tensor, cap: float, fused: bool = False, weights: Tensor | None = None
) -> Tensor:
    """hidden (N, D), head (V, D), targets (N,) -> mean loss in nats; `fused` uses the Triton kernel on a GPU.

    With `weights` (N,) it is the mean of weight times loss.
    """
    if fused and hidden.is_cuda and cap and weights is None:
        from base.model.kernels.loss import fused_cross_entropy  # Triton, which a CPU does not have

        return fused_cross_entropy(hidden @ head.to(hidden.dtype).T, targets, cap)
    return SoftcappedCrossEntropy.apply(hidden, head, targets, cap, weights)


class SoftcappedCrossEntropy(torch.autograd.Function):
    """hidden (N, D), embedding (V, D), targets (N,) -> mean loss in nats; c*tanh(h E^T / c) in fp32, c = 0: no cap."""

    @staticmethod
    def forward(
        ctx, hidden: Tensor, embedding: Tensor, targets: Tensor, cap: float, weights: Tensor | None = None
    ) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        grad_hidden = torch.empty_like(hidden)
        grad_embedding = torch.zeros(embedding.shape, dtype=torch.float32, device=hidden.device)
        head = embedding.to(hidden.dtype)
        for start in range(0, len(hidden), CHUNK_ROWS):
            rows, row_targets = hidden[start : start + CHUNK_ROWS], targets[start : start + CHUNK_ROWS, None]
            z = (rows @ head.T).float()
            tanh = z.div_(cap).tanh_() if cap else None
            # Softcapped logits lie in [-c, c]: the sum of exponentials cannot overflow, so no maximum is subtracted.
            logits = tanh * cap if cap else z - z.amax(dim=1, keepdim=True)
            exponentials = logits.exp()
            normalizer = exponentials.sum(dim=1, keepdim=True)
            losses = normalizer.log() - logits.gather(1, row_targets)
            row_weights = None if weights is None else weights[start : start + CHUNK_ROWS, None]
            total += (losses if row_weights is None else losses * row_weights).sum()
            grad = exponentials.div_(normalizer).scatter_add_(1, row_targets, -torch.ones_like(normalizer))
            if cap:
                grad.mul_(tanh.square_().neg_().add_(1.0))  # d softcap(z) / dz = 1 - tanh^2
            grad = (grad if row_weights is None else grad.mul_(row_weights)).to(hidden.dtype)
            grad_hidden[start : start + CHUNK_ROWS] = grad @ head
            grad_embedding += (grad.T @ rows).float()
        ctx.save_for_backward(grad_hidden.div_(len(hidden)), grad_embedding.div_(len(hidden)))
        return total / len(hidden)

    @staticmethod
    def backward(ctx, grad_loss: Tensor):
        grad_hidden, grad_embedding = ctx.saved_tensors
        return grad_hidden * grad_loss.to(grad_hidden.dtype), grad_embedding * grad_loss, None, None, None

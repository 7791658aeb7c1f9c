"""GPTQ (arXiv 2210.17323) with the full Hessian: each column's rounding error is made up for by the columns after it.

In its correct form: from the upper Cholesky factor of the inverse Hessian, in order of falling diagonal. #850 and #962
read rows of the raw inverse instead, in rising order, and lose most of the gain (techniques.md C4).
"""

import torch
from torch import Tensor

from base.quant.grids import round_to_grid

BLOCK = 128
DAMPING_TRIES = (1.0, 10.0, 100.0)  # times the damping asked for


def factorize(hessians: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """Hessians E[x x^T] (B, K, K) -> order of columns (B, K), upper factors U (B, K, K) with U^T U the inverse.

    `damping`, a share of the mean diagonal, is added to the diagonal, and more of it if rounding has left a Hessian
    indefinite. Inputs that never occurred (diagonal 0) get the mean of those that did. Raises ValueError.
    """
    h = hessians.double().clone()
    diagonal = h.diagonal(dim1=-2, dim2=-1)
    order = diagonal.argsort(dim=-1, descending=True, stable=True)
    live = (diagonal > 0).sum(dim=-1, keepdim=True).clamp_min(1)
    mean = (diagonal.sum(dim=-1, keepdim=True) / live).clamp_min(1e-30)
    diagonal += torch.where(diagonal == 0, mean, torch.zeros_like(mean))
    h = h.gather(1, order[:, :, None].expand_as(h)).gather(2, order[:, None, :].expand_as(h))
    for more in DAMPING_TRIES:
        damped = h + torch.diag_embed((more * damping * mean).expand_as(diagonal))
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed.any():
            return order, torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True).float()
    raise ValueError(f"a Hessian is indefinite even with {DAMPING_TRIES[-1] * damping:g} of its diagonal added")


def round_with_feedback(
    weights: Tensor,
    scales: Tensor,
    largest: Tensor,
    factors: tuple[Tensor, Tensor],
    kept: Tensor | None = None,
) -> Tensor:
    """Quantize weights (B, R, K) at scales (B, R) to integers of at most `largest` (B, 1, 1); see `factorize`.

    kept: (B, R, K) bool or None; what was pruned stays 0, or the columns before would fill it again.

    Returns: integers (B, R, K) as floats.
    """
    order, upper = factors
    chosen, back = (index[:, None, :].expand_as(weights) for index in (order, order.argsort(dim=-1)))
    columns = weights.gather(2, chosen)
    kept = None if kept is None else kept.gather(2, chosen)
    integers = torch.empty_like(columns)
    for start in range(0, columns.size(2), BLOCK):
        block = slice(start, min(start + BLOCK, columns.size(2)))
        errors = _round_block(columns, integers, scales, largest, upper, kept, block)
        columns[:, :, block.stop :] -= errors @ upper[:, block, block.stop :]
    return integers.gather(2, back)


def _round_block(
    columns: Tensor,
    integers: Tensor,
    scales: Tensor,
    largest: Tensor,
    upper: Tensor,
    kept: Tensor | None,
    block: slice,
) -> Tensor:
    """Round one block column by column, in place; returns the errors (B, R, block) over the factor's diagonal."""
    errors = torch.empty_like(columns[:, :, block])
    steps = scales.float()
    for column in range(block.start, block.stop):
        weight = columns[:, :, column]
        integer = round_to_grid(weight[..., None], scales, largest)[..., 0]
        if kept is not None:
            integer = integer * kept[:, :, column]
        integers[:, :, column] = integer
        error = (weight - integer * steps) / upper[:, column, column, None]
        errors[:, :, column - block.start] = error
        rest = slice(column + 1, block.stop)
        columns[:, :, rest] -= error[..., None] * upper[:, None, column, rest]
    return errors


def row_objective(errors: Tensor, hessians: Tensor | None) -> Tensor:
    """e H e^T of each row of errors (B, R, K) (B, R): the squared error of the layer's output. H = 1 without one."""
    return ((errors if hessians is None else errors @ hessians) * errors).sum(dim=-1)

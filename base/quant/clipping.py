"""Where a row's grid ends: at its largest weight, a percentile, or k standard deviations; and the search among them."""

import torch
from torch import Tensor

from base.config import Quant
from base.quant.grids import SMALLEST_SCALE, round_mantissa

PERCENTILES = (0.999, 0.9995, 0.9999, 0.99999, 1.0)  # of |w| in a row (#414)
SHARES = (1.0, 0.93, 0.86, 0.79, 0.72, 0.65, 0.58, 0.5)  # of the widest clip
HESSIAN_SHARE_LIMITS = (0.25, 4.0)


def candidates(
    weights: Tensor, largest: Tensor, clip_sigmas: Tensor, quant: Quant, diagonals: Tensor | None
) -> list[Tensor]:
    """Scales to choose from, each (B, R) fp16.

    Args:
        weights: (B, R, K).
        largest: (B, 1, 1), the largest integers of the grids.
        clip_sigmas: (B,): k standard deviations, or 0 for the largest weight of a row.
        quant: the knobs `clip_search`, `clip_row_share`, `scale_mantissa`.
        diagonals: (B, K) of the Hessians, for `clip_row_share`.
    """
    widest = weights.abs().amax(dim=-1)
    sigmas = clip_sigmas[:, None].to(widest) * _row_factor(weights, quant.clip_row_share, diagonals)
    limit = torch.where(clip_sigmas[:, None].to(widest) > 0, sigmas * weights.std(dim=-1), widest)
    if quant.clip_search == "percentile":
        ordered = weights.abs().sort(dim=-1).values
        limits = [_percentile(ordered, share) for share in PERCENTILES]
    elif quant.clip_search == "hessian":
        limits = [share * limit for share in SHARES]
    else:
        limits = [limit]
    return [
        round_mantissa((limit / largest[..., 0]).clamp_min(SMALLEST_SCALE).half(), quant.scale_mantissa)
        for limit in limits
    ]


def _percentile(ordered: Tensor, share: float) -> Tensor:
    """Of rows in rising order (..., K), interpolated; torch.quantile takes no more than 16 M values."""
    low, part = divmod(share * (ordered.size(-1) - 1), 1.0)
    high = min(int(low) + 1, ordered.size(-1) - 1)
    return torch.lerp(ordered[..., int(low)], ordered[..., high], part)


def _row_factor(weights: Tensor, share: float, diagonals: Tensor | None) -> Tensor:
    """1 + share (r - 1), r = mean_j |w_ij| H_jj over its mean: rows that matter more get a wider grid (2026-04-06)."""
    if not share or diagonals is None:
        return torch.ones_like(weights[..., 0])
    relevance = (weights.abs() * diagonals[:, None, :]).mean(dim=-1)
    relevance = relevance / relevance.mean(dim=-1, keepdim=True).clamp_min(1e-30)
    return (1.0 + share * (relevance - 1.0)).clamp(*HESSIAN_SHARE_LIMITS)

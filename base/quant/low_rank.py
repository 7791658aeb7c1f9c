"""LQER (arXiv 2402.02446; #1797): the error of a few matrices, in low rank and few bits, is added back in loading."""

import torch
from torch import Tensor

GROUP = 64
LEFT_LOW, LEFT_HIGH, RIGHT_LOW, RIGHT_HIGH = -2, 1, -8, 7  # integers of 2 and of 4 bits


def approximate(error: Tensor, rank: int, importance: Tensor | None) -> dict[str, Tensor]:
    """error (R, K) of a quantized matrix -> integers and scales of left (R, r) and right (r, K).

    `importance` (K,), the Hessian's diagonal, weighs the columns whose error is worth removing (L2QER).
    """
    weight = torch.ones(error.size(1), dtype=torch.float64, device=error.device)
    if importance is not None:
        weight = (importance.double() / importance.double().mean().clamp_min(1e-30)).clamp_min(1e-4).sqrt()
    left, values, right = torch.linalg.svd(error.double() * weight, full_matrices=False)
    rank = min(rank, len(values))
    left, right = (left[:, :rank] * values[:rank]).float(), (right[:rank] / weight).float()
    left_scale = (left.abs().amax() / 1.5).clamp_min(1e-7).half()
    groups = torch.nn.functional.pad(right, (0, -right.size(1) % GROUP)).view(rank, -1, GROUP)
    right_scale = (groups.abs().amax(dim=2) / 7.5).clamp_min(1e-7).half()
    return {
        "left": (left / left_scale.float()).round().clamp(LEFT_LOW, LEFT_HIGH).to(torch.int8),
        "left_scale": left_scale.view(1),
        "right": (groups / right_scale.float()[..., None])
        .round()
        .clamp(RIGHT_LOW, RIGHT_HIGH)
        .view(rank, -1)[:, : right.size(1)]
        .to(torch.int8),
        "right_scale": right_scale,
    }


def correction(parts: dict[str, Tensor]) -> Tensor:
    """The matrix (R, K) to add: left right."""
    left = parts["left"].float() * parts["left_scale"].float()
    scales = parts["right_scale"].float().repeat_interleave(GROUP, dim=1)[:, : parts["right"].size(1)]
    return left @ (parts["right"].float() * scales)

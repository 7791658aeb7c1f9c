"""XSA, exclusive self attention (arXiv 2603.09078; #265, on all layers since #478)."""

import torch.nn.functional as F
from torch import Tensor


def exclusive_self_attention(y: Tensor, v: Tensor) -> Tensor:
    """Head outputs y (B, T, H, Dh) without their component along the token's own value v (B, T, K, Dh).

    The residual stream already carries the token itself; attention is left for the other tokens. K divides H, and no
    value is repeated. (One fork calls attention to the previous sequence "XSA", which is a different technique.)
    """
    direction = F.normalize(v, dim=-1)[:, :, :, None]  # (B, T, K, 1, Dh)
    grouped = y.unflatten(2, (v.size(2), -1))  # (B, T, K, H/K, Dh)
    return (grouped - (grouped * direction).sum(dim=-1, keepdim=True) * direction).flatten(2, 3)

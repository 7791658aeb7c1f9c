"""One attention function for the whole tree, whatever kernel answers it."""

import torch.nn.functional as F
from torch import Tensor


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention with grouped kv heads: q (B, T, H, Dh), k and v (B, T, K, Dh), K divides H -> (B, T, H, Dh).

    Query head h reads kv head h // (H / K).
    """
    groups = q.size(2) // k.size(2)
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=2), v.repeat_interleave(groups, dim=2)
    y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True)
    return y.transpose(1, 2)

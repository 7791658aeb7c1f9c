"""Where documents start in a row of tokens: in the challenge's stream every document opens with BOS."""

import torch
from torch import Tensor

BOS = 1
SHORTEST = 32  # mean tokens of a document below which a row's last ones are taken as one


def document_ids(tokens: Tensor) -> Tensor:
    """Tokens (B, T) -> the number of the document each stands in, counted within its row, at most T / 32 (B, T)."""
    return (tokens == BOS).cumsum(dim=1).clamp(max=tokens.size(1) // SHORTEST)


def same_document(ids: Tensor) -> Tensor:
    """Ids (B, T) -> (B, 1, T, T): may the query of a row's place see the key of a column's place?"""
    length = ids.size(1)
    causal = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
    return (causal & (ids[:, :, None] == ids[:, None, :]))[:, None]


def cumulative_lengths(ids: Tensor) -> Tensor:
    """Ids (B, T) -> int32 starts of all segments of the flattened rows, then B T to fill (B (T / 32 + 1) + 1,).

    The size is fixed, so that no step waits for the GPU to count and nothing is compiled again.
    """
    fresh = torch.ones_like(ids, dtype=torch.bool)
    fresh[:, 1:] = ids[:, 1:] != ids[:, :-1]
    total = ids.numel()
    starts = torch.where(fresh.flatten(), torch.arange(total, device=ids.device), total).sort().values
    room = ids.size(0) * (ids.size(1) // SHORTEST + 1)
    return torch.cat((starts[:room], starts.new_full((1,), total))).int()

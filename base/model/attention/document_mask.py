"""Document boundaries for attention: in the challenge's stream every document opens with BOS."""

import torch
from torch import Tensor

BOS = 1
MIN_MEAN_TOKENS = 32  # of a document: past T / 32 documents, the rest of a row counts as one


def document_ids(tokens: Tensor, length: int | None = None) -> Tensor:
    """Tokens (B, T) -> index of each token's document, counted within its row, at most T / 32 (B, T).

    `length` stands for T where the row is the beginning of a longer one.
    """
    return (tokens == BOS).cumsum(dim=1).clamp(max=(length or tokens.size(1)) // MIN_MEAN_TOKENS)


def document_mask(ids: Tensor) -> Tensor:
    """Ids (B, T) -> (B, 1, T, T), True where a query (row) may attend to a key (column)."""
    length = ids.size(1)
    causal = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
    return (causal & (ids[:, :, None] == ids[:, None, :]))[:, None]


def last_rows(ids: Tensor | None, length: int, count: int, device: torch.device) -> Tensor:
    """The last `count` rows of the causal mask of `length` tokens (1, 1, count, length), inside documents if ids."""
    causal = torch.ones(count, length, dtype=torch.bool, device=device).tril(length - count)
    return (causal if ids is None else causal & (ids[:, -count:, None] == ids[:, None, :])).view(1, 1, count, length)


def cumulative_lengths(ids: Tensor) -> Tensor:
    """Ids (B, T) -> int32 starts of all segments of the flattened rows, padded with B T to (B (T / 32 + 1) + 1,).

    The size is fixed, so that no step waits for the GPU to count and nothing is compiled again.
    """
    is_start = torch.ones_like(ids, dtype=torch.bool)
    is_start[:, 1:] = ids[:, 1:] != ids[:, :-1]
    total = ids.numel()
    starts = torch.where(is_start.flatten(), torch.arange(total, device=ids.device), total).sort().values
    max_segments = ids.size(0) * (ids.size(1) // MIN_MEAN_TOKENS + 1)
    return torch.cat((starts[:max_segments], starts.new_full((1,), total))).int()

"""Nearest neighbors: what followed the most similar hidden states of the scored text (kNN-LM, arXiv 1911.00172; #738).

p' = (1 - w) p + w p_knn for every token, p_knn(v) = sum of exp(-d^2 / T) over the nearest keys that were followed by v,
over the sum of all. The weight w knows the model's entropy or the nearest distance, never the token.
"""

import math

import numpy as np
import torch
from torch import Tensor

from base.config import Eval

STEPS = 256  # of a distance for each `knn_temperature`
QUERIES = 1024  # of one product
SPARE = 32


class Neighbors:
    """A ring of the last `knn_keys` hidden states and the tokens after them; D + 1 numbers each."""

    def __init__(self, knobs: Eval, vocab_size: int, dim: int, dtype: torch.dtype, device: torch.device):
        self.knobs, self.vocab_size = knobs, vocab_size
        self.keys = torch.zeros(knobs.knn_keys, dim, dtype=dtype, device=device)
        self.values = torch.zeros(knobs.knn_keys, dtype=torch.int64, device=device)
        self.reset()

    def reset(self) -> None:
        self.count = 0

    def add(self, hidden: Tensor, tokens: Tensor) -> None:
        """Keep hidden states (n, D) and the tokens (n,) that followed them, the last `knn_keys` of all."""
        size = len(self.keys)
        hidden, tokens = hidden[-size:], tokens[-size:]
        places = (self.count + torch.arange(len(tokens), device=tokens.device)) % size
        self.keys[places], self.values[places] = hidden.to(self.keys.dtype), tokens
        self.count += len(tokens)

    def nearest(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (n, k) and tokens (n, k) of the neighbors of hidden states (n, D), and the nearest's d^2 (n,).

        Distances are products of whole blocks; no neighbors (n, 0) while there are no keys.
        """
        known = min(self.count, len(self.keys))
        if not known:
            return (
                hidden.new_zeros(len(hidden), 0),
                self.values.new_zeros(len(hidden), 0),
                hidden.new_zeros(len(hidden)),
            )
        keys, count = self.keys[:known].float(), min(self.knobs.knn_neighbors, known)
        parts = []
        for queries in hidden.to(self.keys.dtype).float().split(QUERIES):
            squares = queries.square().sum(dim=1)[:, None] + keys.square().sum(dim=1)
            distances = (squares - 2.0 * (queries @ keys.T)).clamp_min(0.0)
            places = first_places((distances * (STEPS / self.knobs.knn_temperature)).floor(), count)
            found = distances.gather(1, places)
            weights = torch.softmax(-found / self.knobs.knn_temperature, dim=1)
            parts.append((weights, self.values[places], found[:, 0]))
        weights, values, nearest = map(torch.cat, zip(*parts, strict=True))
        return weights, values, nearest

    def probabilities(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """(n, 2): the probability of each token (n,) by its neighbors, and the distance d^2 of the nearest."""
        weights, values, nearest = self.nearest(hidden)
        return torch.stack(((weights * (values == tokens[:, None])).sum(dim=1), nearest), dim=1)

    def distribution(self, hidden: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (1, V) by the neighbors of one hidden state (1, D), and the nearest's d^2 (1,)."""
        weights, values, nearest = self.nearest(hidden)
        every = weights.new_zeros(1, self.vocab_size).scatter_add_(1, values, weights)
        return every.double().cpu().numpy(), nearest.double().cpu().numpy()

    def mix(self, logp, probabilities, nearest, entropy):
        """logp (n, K) and neighbors' probabilities (n, K) of the same tokens -> logp (n, K).

        A position without neighbors, whose probabilities sum to nothing, is left alone: `count` tells, not the tokens.
        """
        if not self.count:
            return logp
        scale = {
            "constant": np.ones_like(entropy),
            "entropy": entropy / math.log(self.vocab_size),
            "distance": np.exp(-nearest / self.knobs.knn_temperature),
        }[self.knobs.knn_mixing]
        weight = np.clip(self.knobs.knn_weight * scale, 0.0, 0.95)[:, None]
        return np.logaddexp(logp + np.log1p(-weight), np.log(weight * probabilities + 1e-300))


def first_places(steps: Tensor, count: int) -> Tensor:
    """Places (n, count) of the smallest whole numbers in each row of steps (n, K), equal ones by their place.

    Keys as near as each other would else be chosen by rounding. A few more than `count` nearly always hold all equals.
    """
    size = steps.size(1)
    candidates = steps.topk(min(count + SPARE, size), dim=1, largest=False)
    order = candidates.values.long() * size + candidates.indices
    places = candidates.indices.gather(1, order.topk(count, dim=1, largest=False).indices)
    crowded = (candidates.values[:, -1] == candidates.values[:, count - 1]) & (count + SPARE < size)
    if bool(crowded.any()):
        order = steps[crowded].long() * size + torch.arange(size, device=steps.device)
        places[crowded] = order.topk(count, dim=1, largest=False).indices
    return places

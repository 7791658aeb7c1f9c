"""Complementary weights against counts by hand."""

from collections import Counter

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from base.runtime import Runtime  # noqa: E402
from base.tokens.complementary import ComplementaryWeights  # noqa: E402

RUNTIME = Runtime(0, 1, torch.device("cpu"), torch.float32)


def test_complementary_weights_are_counted_and_have_mean_one():
    vocab = 11
    complementary, pair_counts = ComplementaryWeights(0.5, vocab, RUNTIME), Counter()
    for seed in range(3):
        rows = torch.randint(vocab, (2, 41), generator=torch.Generator().manual_seed(seed))
        tokens, targets = rows[:, :-1], rows[:, 1:]
        pairs = list(zip(tokens.flatten().tolist(), targets.flatten().tolist(), strict=True))
        token_counts = Counter({a: sum(n for (x, _), n in pair_counts.items() if x == a) for a, _ in pairs})
        expected = torch.tensor([max(0.1, 1 - 0.5 * pair_counts[a, b] / (token_counts[a] + 1)) for a, b in pairs])
        actual = complementary.weights(tokens, targets)
        torch.testing.assert_close(actual.flatten(), expected / expected.mean())
        assert actual.mean().item() == pytest.approx(1.0, abs=1e-6)
        pair_counts.update(pairs)
    assert actual.min() < 0.95

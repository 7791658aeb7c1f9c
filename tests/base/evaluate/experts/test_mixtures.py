"""n-grams and neighbors by their formulas, in float64, over the whole vocabulary."""

import numpy as np
import pytest
from helpers.base.scorers import text

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from base.evaluate.experts.neighbors import Neighbors  # noqa: E402
from base.evaluate.experts.ngrams import NgramMixture  # noqa: E402
from base.evaluate.knobs import Eval  # noqa: E402


def distributions(rows: int, seed: int = 0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(rows, 97)) * 2
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_the_ngram_mixture_is_its_formula_and_sums_to_one():
    knobs = Eval(ngram_order=4, ngram_slots=10, ngram_weight_low=0.1, ngram_weight_high=0.5)
    mixture = NgramMixture(knobs, 97)
    mixture.observe(text(500))
    probabilities, orders = mixture.predict()
    assert orders[0] > 0
    logp = distributions(1)
    entropy = -(np.exp(logp) * logp).sum(axis=1)
    mixed = mixture.mix(logp, probabilities, orders, entropy)
    center, multiplier = {2: (4.5, 0.3), 3: (4.2, 0.3), 4: (3.8, 1.0)}[int(orders[0])]
    weight = multiplier * (0.1 + 0.4 / (1 + np.exp(-2 * (entropy[0] - center))))
    assert np.allclose(np.exp(mixed[0]), (1 - weight) * np.exp(logp[0]) + weight * probabilities[0])
    assert np.exp(mixed).sum() == pytest.approx(1.0, abs=1e-12)
    assert np.array_equal(
        mixture.mix(logp, probabilities, np.zeros(1, int), entropy), np.logaddexp(logp, np.log(1e-300))
    )


@pytest.mark.parametrize("mixing", ["constant", "entropy", "distance"])
def test_neighbors_are_those_of_a_loop(mixing):
    knobs = Eval(knn_keys=50, knn_neighbors=7, knn_temperature=9.0, knn_weight=0.3, knn_mixing=mixing)
    rng = np.random.default_rng(0)
    states, tokens = rng.normal(size=(80, 16)).astype(np.float32), rng.integers(0, 97, 80)
    neighbors = Neighbors(knobs, 97, 16, torch.float32, torch.device("cpu"))
    for start in range(0, 80, 20):
        neighbors.add(torch.from_numpy(states[start : start + 20]), torch.from_numpy(tokens[start : start + 20]))
    query = states[75:76] + 0.1
    distances = ((states[30:] - query) ** 2).sum(axis=1)  # the ring holds the last 50
    nearest = np.argsort(distances)[:7]
    expected = np.zeros(97)
    for place in nearest:
        expected[tokens[30:][place]] += np.exp(-distances[place] / 9.0)
    expected /= expected.sum()
    every, least = neighbors.distribution(torch.from_numpy(query))
    assert np.allclose(every[0], expected, atol=1e-5)
    assert least[0] == pytest.approx(distances.min(), abs=1e-4)
    one = neighbors.probabilities(torch.from_numpy(query.repeat(97, axis=0)), torch.arange(97))
    assert np.allclose(one[:, 0].numpy(), expected, atol=1e-5)
    logp = distributions(1)
    entropy = -(np.exp(logp) * logp).sum(axis=1)
    scale = {"constant": 1.0, "entropy": entropy[0] / np.log(97), "distance": np.exp(-least[0] / 9.0)}[mixing]
    mixed = np.exp(neighbors.mix(logp, every, least, entropy)[0])
    assert np.allclose(mixed, (1 - 0.3 * scale) * np.exp(logp[0]) + 0.3 * scale * every[0], atol=1e-7)
    assert mixed.sum() == pytest.approx(1.0, abs=1e-6)


def test_keys_as_near_as_each_other_are_taken_in_order_whatever_the_rounding():
    """Forty equal keys with forty followers, of which seven count: a query off by rounding gets the same seven."""
    neighbors = Neighbors(Eval(knn_keys=100, knn_neighbors=7), 97, 16, torch.float32, torch.device("cpu"))
    key = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 16)).astype(np.float32))
    neighbors.add(
        key + 1e-7 * torch.from_numpy(np.random.default_rng(2).normal(size=(40, 16))).float(), torch.arange(40)
    )
    found = [neighbors.distribution(key + shift)[0] for shift in (0.0, 1e-6, -1e-6)]
    assert np.flatnonzero(found[0][0]).tolist() == list(range(7))
    assert all(np.allclose(each, found[0], atol=1e-6) for each in found)


def test_knobs_that_mean_nothing_are_named():
    from base.evaluate.experts.agreement import Agreement

    with pytest.raises(ValueError, match="expected each expert once"):
        Agreement(Eval(agreement="token,token"), None)
    for mixture in (NgramMixture(Eval(ngram_order=3, ngram_least=0, ngram_slots=10), 97),):
        with pytest.raises(ValueError, match="at least once, got 0"):
            mixture.observe(text(10))


@pytest.mark.parametrize("values", [3, 40, 100_000])
def test_the_first_places_are_those_of_a_stable_sort(values):
    from base.evaluate.experts.neighbors import first_places

    steps = torch.randint(0, values, (200, 300), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(first_places(steps, 7), steps.sort(dim=1, stable=True).indices[:, :7])
    assert torch.equal(first_places(steps[:, :5], 5), steps[:, :5].sort(dim=1, stable=True).indices)

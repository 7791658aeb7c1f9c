"""Token embeddings against their formulas: smear gates, hashed n-grams, causal means."""

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import assert_close, document_tokens, initialized, perturb, perturbed, small_config  # noqa: E402

from base.model.attention.document_mask import BOS  # noqa: E402
from base.model.attention.value_residual import ValueEmbedding  # noqa: E402
from base.model.layers import rms_norm  # noqa: E402
from base.model.ngrams import BIGRAM_PRIMES, ENGRAM_PRIMES, BigramHash, EngramLite, hash_ngrams  # noqa: E402
from base.model.smear import NarrowSmear, VectorSmear  # noqa: E402
from base.model.wavelet import Wavelet, causal_mean  # noqa: E402


@pytest.mark.parametrize("within_documents", [False, True])
def test_smear(within_documents):
    config, tokens, x = (
        small_config(embed={"smear_documents": within_documents}),
        document_tokens(),
        torch.randn(2, 96, 32),
    )
    vector, narrow = perturbed(VectorSmear(config.embed, 32)), perturbed(NarrowSmear(config.embed, 32))
    gate = torch.sigmoid(vector.gate)
    for t in range(96):
        before = x[:, t - 1] if t else torch.zeros(2, 32)
        if within_documents:
            before = before * (tokens[:, t] != BOS)[:, None]
        assert_close(vector(x, tokens)[:, t], (1 - gate) * x[:, t] + gate * before)
        strength = narrow.strength * torch.sigmoid(x[:, t, :12] @ narrow.weight)
        assert_close(narrow(x, tokens)[:, t], x[:, t] + strength[:, None] * before)
    assert torch.equal(initialized(NarrowSmear(config.embed, 32))(x, tokens), x)
    assert sum(weight.numel() for weight in narrow.parameters()) == 13


def test_hashes_are_those_of_the_formula():
    tokens = torch.randint(0, 8192, (2, 9))
    actual = hash_ngrams(tokens, BIGRAM_PRIMES, 2048)
    for row, buckets in zip(tokens.tolist(), actual.tolist(), strict=True):
        assert buckets[0] == 2047
        for t in range(1, 9):
            assert buckets[t] == ((36313 * row[t]) ^ (27191 * row[t - 1])) % 2047
    three = hash_ngrams(tokens, ENGRAM_PRIMES[3], 64)
    a, b, c = tokens[0, 2:5].tolist()
    assert three[0, :2].tolist() == [63, 63]
    assert three[0, 4] == ((51647 * c) ^ (81929 * b) ^ (131071 * a)) % 63


def test_bigrams_start_silent_and_alive():
    config, tokens = small_config(embed={"bigram_buckets": 64, "bigram_dim": 8}), torch.randint(0, 97, (2, 9))
    module = initialized(BigramHash(config))
    out = module(tokens, torch.float32)
    assert not out.any()
    out.backward(torch.randn_like(out))
    assert module.table.grad.abs().sum() > 0  # zero table times zero projection would never move
    perturb(module)
    expected = module.scale * (module.table[hash_ngrams(tokens, BIGRAM_PRIMES, 64)] @ module.projection.weight.T)
    assert_close(module(tokens, torch.float32), expected)


def test_projections_start_as_large_as_their_source_has_them():
    for gain in (1.0, 22**-0.5):
        config = small_config(
            embed={"bigram_buckets": 64, "bigram_dim": 8, "projection_gain": gain},
            attention={"ve_layers": ":", "ve_dim": 8},
        )
        for module in (BigramHash(config), ValueEmbedding(config, 16)):
            weight = initialized(module).projection.weight
            assert_close(weight.T @ weight, gain**2 * torch.eye(8))


def test_engrams():
    config, tokens = small_config(embed={"engram_buckets": 32, "engram_dim": 4}), torch.randint(0, 97, (2, 9))
    module, x = perturbed(EngramLite(config)), torch.randn(2, 9, 32)
    tables = module.table.view(4, 32, 4)
    actual = torch.cat([tables[i][hash_ngrams(tokens, primes, 32)] for i, primes in enumerate(ENGRAM_PRIMES)], dim=-1)
    gate = torch.sigmoid(rms_norm(x) @ module.gate.weight.T)
    assert_close(module(tokens, x), gate * (actual @ module.projection.weight.T))
    out = initialized(EngramLite(config))(tokens, x)
    assert not out.any()


def test_wavelet_means_are_of_the_past():
    x = torch.randn(2, 20, 6)
    for level in (1, 2, 4):
        for t in range(20):
            assert_close(causal_mean(x, level)[:, t], x[:, max(0, t + 1 - 2**level) : t + 1].mean(dim=1))
    module = initialized(Wavelet(small_config(embed={"wavelet_dims": 6, "wavelet_levels": 3})))
    wide = torch.randn(2, 20, 32)
    actual = module(wide, 0)
    assert torch.equal(actual[..., :26], wide[..., :26])
    assert_close(actual[..., 30:], causal_mean(wide[..., 30:], 3))
    with torch.no_grad():
        module.share.fill_(0.25)
    assert_close(module(wide, 1)[..., 26:28], 0.75 * wide[..., 26:28] + 0.25 * causal_mean(wide[..., 26:28], 1))

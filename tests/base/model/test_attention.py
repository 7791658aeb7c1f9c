"""Attention and its variants against their formulas: grouped queries, XSA, gates, values, differential attention."""

import math

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import (  # noqa: E402
    SMALL,
    assert_close,
    initialized,
    initialized_model,
    perturb,
    perturbed,
    small_config,
)

from base.model.attention.differential import Differential  # noqa: E402
from base.model.attention.flash import causal_attention  # noqa: E402
from base.model.attention.gates import HeadGate, ValueGate  # noqa: E402
from base.model.attention.grouped_query import Attention, ForwardContext  # noqa: E402
from base.model.attention.value_residual import ValueEmbedding, ValueResidual  # noqa: E402
from base.model.attention.xsa import exclusive_self_attention  # noqa: E402
from base.model.layers import initialize  # noqa: E402


def test_grouped_attention_is_attention_with_repeated_heads():
    q, k, v = torch.randn(2, 9, 4, 8), torch.randn(2, 9, 2, 8), torch.randn(2, 9, 2, 8)
    mask = torch.full((9, 9), float("-inf")).triu(1)
    for head in range(4):
        scores = q[:, :, head] @ k[:, :, head // 2].mT / 8**0.5 + mask
        torch.testing.assert_close(
            causal_attention(q, k, v)[:, :, head], scores.softmax(-1) @ v[:, :, head // 2], atol=1e-5, rtol=1e-4
        )


def test_query_and_key_scale_do_not_matter_but_the_gain_does():
    attention = Attention(SMALL, layer=0)
    initialize(attention, 1)
    with torch.no_grad():
        attention.out.weight.normal_()
        x = torch.randn(1, 16, 32)
        before = attention(x, ForwardContext(x))
        attention.q.weight.mul_(5.0)
        torch.testing.assert_close(attention(x, ForwardContext(x)), before, atol=1e-5, rtol=1e-4)
        attention.gain.mul_(5.0)
        assert not torch.allclose(attention(x, ForwardContext(x)), before, atol=1e-3)


def test_without_qk_norm_the_scale_of_queries_matters():
    attention = perturbed(Attention(small_config(attention={"qk_norm": False}), 0))
    x = torch.randn(1, 9, 32)
    before = attention(x, ForwardContext(x))
    with torch.no_grad():
        attention.q.weight.mul_(3.0)
    assert not torch.allclose(attention(x, ForwardContext(x)), before, atol=1e-3)


def test_exclusive_outputs_have_nothing_of_their_own_value():
    y, v = torch.randn(2, 5, 6, 8), torch.randn(2, 5, 3, 8)
    actual = exclusive_self_attention(y, v)
    for head in range(6):
        own = v[:, :, head // 2]
        unit = own / own.norm(dim=-1, keepdim=True)
        assert_close(actual[:, :, head], y[:, :, head] - (y[:, :, head] * unit).sum(-1, keepdim=True) * unit)
        assert_close((actual[:, :, head] * own).sum(-1), torch.zeros(2, 5))
    assert_close(
        exclusive_self_attention(v, v), torch.zeros_like(v)
    )  # the first token of a row attends to itself alone


@pytest.mark.parametrize(("kind", "start"), [("dense", 1 / (1 + math.exp(-4))), ("output", 1.0), ("sparse", 0.5)])
def test_head_gates(kind, start):
    config, x = small_config(attention={"attention_gate": kind}), torch.randn(2, 3, 32)
    gate = initialized(HeadGate(config))
    assert_close(gate(x), torch.full((2, 3, 4, 1), start))
    gate = perturb(gate)
    with torch.no_grad():
        gate.weight.mul_(10)
        z = x[..., : gate.weight.size(1)] @ gate.weight.T
        expected = {
            "dense": lambda: 1 / (1 + torch.exp(-z - gate.bias)),
            "output": lambda: 2 / (1 + torch.exp(-z)),
            "sparse": lambda: 1 / (1 + torch.exp(-z / 2)),
        }[kind]()
        assert_close(gate(x), expected[..., None])
    assert gate.weight.shape == (4, 32 if kind == "dense" else 12)


def test_value_gates_start_open():
    gate, v = initialized(ValueGate(16)), torch.randn(2, 3, 16)
    assert_close(gate(v), v / (1 + math.exp(-4)))
    perturb(gate)
    assert_close(gate(v), v * torch.sigmoid(v @ gate.weight.T + gate.bias))


def test_value_residuals_and_their_starts():
    v, first = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    sigmoid = 1 / (1 + math.exp(1.5))
    assert_close(initialized(ValueResidual("additive"))(v, first), v + 0.5 * first)
    assert_close(initialized(ValueResidual("convex"))(v, first), (1 - sigmoid) * v + sigmoid * first)
    assert_close(initialized(ValueResidual("softmax"))(v, first), 0.5 * v + 0.5 * first)
    mixed = perturbed(ValueResidual("softmax"))
    weights = mixed.mix.exp() / mixed.mix.exp().sum()
    assert_close(mixed(v, first), weights[0] * first + weights[1] * v)


def test_the_value_embedding_is_one_table_for_the_layers_that_read_it():
    config, tokens = small_config(attention={"ve_layers": "-1:", "ve_dim": 8}), torch.tensor([[3, 5, 3]])
    module = perturbed(ValueEmbedding(config, 16))
    expected = module.scale * (module.table[tokens] @ module.projection.weight.T)
    assert_close(module(tokens, torch.float32), expected)
    model = initialized_model(config)
    assert [block.attention.embedding_gain is not None for block in model.blocks] == [False, True]
    x = torch.randn(1, 3, 32)
    attention, context = model.blocks[1].attention, ForwardContext(x, value_embedding=torch.randn(1, 3, 16))
    assert_close(attention.values(x, context), attention.v(x) + context.value_embedding)


def test_differential_attention_is_a_difference_of_two_maps():
    module = perturbed(Differential(8, layer=2))
    lambda_init = 0.8 - 0.6 * math.exp(-0.6)
    assert module.lambda_init == pytest.approx(lambda_init)
    assert Differential(8, 0).lambda_init == pytest.approx(0.2)
    q, k, v = torch.randn(1, 6, 8, 4), torch.randn(1, 6, 4, 4), torch.randn(1, 6, 2, 8)
    actual, mask = module(q, k, v), torch.full((6, 6), float("-inf")).triu(1)
    a, b, c, d = module.vectors
    weight = (a @ b).exp() - (c @ d).exp() + lambda_init
    for head in range(4):
        group = head // 2
        maps = [(q[0, :, 2 * head + half] @ k[0, :, 2 * group + half].T / 2.0 + mask).softmax(-1) for half in (0, 1)]
        y = (maps[0] - weight * maps[1]) @ v[0, :, head // 2]
        assert_close(
            actual[0, :, head], (1 - lambda_init) * y / (y.square().mean(-1, keepdim=True) + 1e-7).sqrt(), atol=1e-3
        )

"""The network's properties: named draws, causality, gradients of the fused loss, parameter counts."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from small_model import SMALL, drawn, stirred  # noqa: E402

from base.model.attention import Attention, Shared  # noqa: E402
from base.model.flash import causal_attention  # noqa: E402
from base.model.gpt import GPT, parameter_counts  # noqa: E402
from base.model.layers import initialise, normal, parameter  # noqa: E402
from base.model.loss import SoftcappedCrossEntropy  # noqa: E402
from base.model.mlp import MLP  # noqa: E402
from base.model.rotary import Rotary  # noqa: E402
from base.presets import pocket  # noqa: E402


def test_a_draw_depends_on_seed_and_name_alone():
    one, other = drawn(), drawn()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not torch.equal(one.embedding, drawn(seed=2).embedding)


def test_an_added_parameter_leaves_the_others_draws_alone():
    plain = dict(drawn().named_parameters())
    model = GPT(SMALL)
    model.aaa_first = parameter(7, 5, init=normal(1.0))
    model.blocks[0].extra = parameter(3, init=normal(1.0))
    initialise(model, 1)
    more = dict(model.named_parameters())
    assert set(more) - set(plain) == {"aaa_first", "blocks.0.extra"}
    assert all(torch.equal(more[name], weight) for name, weight in plain.items())
    deeper = dataclasses.replace(SMALL, model=dataclasses.replace(SMALL.model, num_layers=3))
    deep = dict(drawn(deeper).named_parameters())
    assert all(torch.equal(deep[name], weight) for name, weight in plain.items())


def test_no_output_depends_on_a_later_token():
    model = stirred()
    tokens = torch.randint(0, 97, (2, 64))
    before = model.logits(model.hidden(tokens))
    for place in (1, 17, 63):
        changed = tokens.clone()
        changed[:, place:] = (changed[:, place:] + 1) % 97
        after = model.logits(model.hidden(changed))
        assert torch.equal(before[:, :place], after[:, :place])
        assert not torch.allclose(before[:, place], after[:, place])


def test_the_fused_loss_is_its_slow_twin():
    torch.manual_seed(0)
    hidden = torch.randn(700, 32, requires_grad=True)  # more than one chunk, and a ragged last one
    embedding = torch.randn(97, 32, requires_grad=True)
    targets = torch.randint(0, 97, (700,))
    slow = torch.nn.functional.cross_entropy(30 * torch.tanh(hidden @ embedding.T / 30), targets)
    expected = torch.autograd.grad(3.0 * slow, (hidden, embedding))
    fast = SoftcappedCrossEntropy.apply(hidden, embedding, targets, 30.0)
    found = torch.autograd.grad(3.0 * fast, (hidden, embedding))
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(found[0], expected[0], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found[1], expected[1], atol=1e-6, rtol=1e-4)


def test_the_training_loss_is_the_scorers_loss():
    model = stirred()
    tokens = torch.randint(0, 97, (4, 65))
    logits = model.logits(model.hidden(tokens[:, :-1]))
    slow = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    torch.testing.assert_close(model(tokens[:, :-1], tokens[:, 1:]), slow)


def test_every_parameter_receives_a_gradient():
    model = stirred()
    model(torch.randint(0, 97, (4, 64)), torch.randint(0, 97, (4, 64))).backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_grouped_attention_is_attention_with_repeated_heads():
    q, k, v = torch.randn(2, 9, 4, 8), torch.randn(2, 9, 2, 8), torch.randn(2, 9, 2, 8)
    mask = torch.full((9, 9), float("-inf")).triu(1)
    for head in range(4):
        scores = q[:, :, head] @ k[:, :, head // 2].mT / 8**0.5 + mask
        torch.testing.assert_close(
            causal_attention(q, k, v)[:, :, head], scores.softmax(-1) @ v[:, :, head // 2], atol=1e-5, rtol=1e-4
        )


def test_rotary_scores_depend_on_distance_alone_and_keep_norms():
    rotary = Rotary(SMALL.attention, 8, 32)
    q, k = torch.randn(8), torch.randn(8)
    turned_q, turned_k = (rotary(x.expand(1, 32, 1, 8))[0, :, 0] for x in (q, k))
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm().expand(32))
    scores = turned_q @ turned_k.T
    for distance in (0, 3, 11):
        diagonal = scores.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)


def test_query_and_key_scale_do_not_matter_but_the_gain_does():
    attention = Attention(SMALL, layer=0)
    initialise(attention, 1)
    with torch.no_grad():
        attention.out.weight.normal_()
        x = torch.randn(1, 16, 32)
        before = attention(x, Shared(x))
        attention.q.weight.mul_(5.0)
        torch.testing.assert_close(attention(x, Shared(x)), before, atol=1e-5, rtol=1e-4)
        attention.gain.mul_(5.0)
        assert not torch.allclose(attention(x, Shared(x)), before, atol=1e-3)


def test_the_mlp_squares_after_the_leak():
    mlp = MLP(SMALL)
    assert SMALL.model.leaky_slope == 0.5
    initialise(mlp, 1)
    with torch.no_grad():
        mlp.down.weight.normal_()
        x = torch.randn(5, 32)
        u = x @ mlp.up.weight.T
        expected = (u.clamp(min=0) + 0.5 * u.clamp(max=0)).square() @ mlp.down.weight.T
        torch.testing.assert_close(mlp(x), expected, atol=1e-5, rtol=1e-4)


def test_parameter_counts():
    model, config = GPT(SMALL), SMALL.model
    block = 32 * 32 * 2 + 32 * 16 * 2 + 4 + 2 * 32 * 64 + 4 * 32
    assert parameter_counts(model) == {"embedding": 97 * 32, "blocks": 2 * block, "total": 97 * 32 + 2 * block}
    assert config.mlp_multiple == 2.0
    assert parameter_counts(GPT(pocket()))["total"] == 1024 * 64 + 3 * (
        64 * 64 * 2 + 64 * 32 * 2 + 2 + 2 * 64 * 192 + 256
    )


def test_heads_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match="num_kv_heads 3"):
        GPT(dataclasses.replace(SMALL, model=dataclasses.replace(SMALL.model, num_kv_heads=3)))

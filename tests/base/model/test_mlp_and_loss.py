"""MLPs, the fused loss and multi-token prediction against their formulas."""

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import torch.nn.functional as F  # noqa: E402, N812
from helpers.base.models import SMALL, assert_close, initialized_model, perturb, perturbed, small_config  # noqa: E402

from base.model.layers import initialize  # noqa: E402
from base.model.loss import SoftcappedCrossEntropy, softcapped_cross_entropy  # noqa: E402
from base.model.mlp import MLP  # noqa: E402
from base.model.mtp import MultiTokenPrediction  # noqa: E402


def test_the_mlp_squares_after_the_leak():
    mlp = MLP(SMALL)
    assert SMALL.model.leaky_slope == 0.5
    initialize(mlp, 1)
    with torch.no_grad():
        mlp.down.weight.normal_()
        x = torch.randn(5, 32)
        u = x @ mlp.up.weight.T
        expected = (u.clamp(min=0) + 0.5 * u.clamp(max=0)).square() @ mlp.down.weight.T
        torch.testing.assert_close(mlp(x), expected, atol=1e-5, rtol=1e-4)


def test_the_other_mlps():
    x = torch.randn(5, 32)
    star = perturbed(MLP(small_config(model={"activation": "star_relu"})))
    u = (x @ star.up.weight.T).clamp(min=0)
    assert_close(star(x), (star.scale * u * u + star.bias) @ star.down.weight.T, atol=1e-4)
    config = small_config(model={"activation": "swiglu", "mlp_multiple": 3.0})
    glu, plain = perturbed(MLP(config)), MLP(small_config(model={"mlp_multiple": 3.0}))
    g = x @ glu.gate.weight.T
    assert_close(glu(x), (g / (1 + (-g).exp()) * (x @ glu.up.weight.T)) @ glu.down.weight.T, atol=1e-4)
    counts = [sum(weight.numel() for weight in mlp.parameters()) for mlp in (glu, plain)]
    assert counts[0] == counts[1]
    squared = perturbed(MLP(small_config(model={"leaky_slope": 0.0})))
    assert_close(squared(x), (x @ squared.up.weight.T).clamp(min=0).square() @ squared.down.weight.T, atol=1e-4)


def test_the_fused_loss_agrees_with_the_plain_one():
    torch.manual_seed(0)
    hidden = torch.randn(700, 32, requires_grad=True)  # more than one chunk, and a ragged last one
    embedding = torch.randn(97, 32, requires_grad=True)
    targets = torch.randint(0, 97, (700,))
    slow = torch.nn.functional.cross_entropy(30 * torch.tanh(hidden @ embedding.T / 30), targets)
    expected = torch.autograd.grad(3.0 * slow, (hidden, embedding))
    fast = SoftcappedCrossEntropy.apply(hidden, embedding, targets, 30.0)
    actual = torch.autograd.grad(3.0 * fast, (hidden, embedding))
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(actual[0], expected[0], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(actual[1], expected[1], atol=1e-6, rtol=1e-4)


def test_no_softcap_is_plain_cross_entropy_and_an_untied_head_is_its_own():
    hidden, head = torch.randn(700, 32, requires_grad=True), torch.randn(97, 32, requires_grad=True)
    targets = torch.randint(0, 97, (700,))
    slow = F.cross_entropy(20 * hidden @ head.T, targets)
    fast = softcapped_cross_entropy(20 * hidden, head, targets, 0.0)
    assert_close(fast, slow)
    for actual, expected in zip(*(torch.autograd.grad(loss, (hidden, head)) for loss in (fast, slow)), strict=True):
        assert_close(actual, expected)
    model = perturb(initialized_model(small_config(model={"tie_embeddings": False, "softcap": 0.0})))
    hidden = model.hidden(torch.randint(0, 97, (1, 5)))
    assert_close(model.logits(hidden), hidden @ model.head.T)


def test_tokens_ahead():
    module = perturbed(MultiTokenPrediction(small_config(model={"mtp_heads": 2, "mtp_weight": 0.3})))
    hidden, targets = torch.randn(2, 12, 32), torch.randint(0, 97, (2, 12))
    losses = [
        F.cross_entropy(30 * torch.tanh(hidden[:, :-k] @ head.T / 30).flatten(0, 1), targets[:, k:].flatten())
        for k, head in zip((1, 2), module.heads, strict=True)
    ]

    def cross_entropy(hidden, head, targets):
        return softcapped_cross_entropy(hidden, head, targets, 30.0)

    assert_close(module(hidden, targets, cross_entropy), 0.3 * (losses[0] + losses[1]) / 2)

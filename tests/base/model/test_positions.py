"""Position embeddings against their formulas: rotary, partial, rescaled, and PoPE."""

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import SMALL, assert_close, initialized  # noqa: E402

from base.model.attention.pope import PoPE  # noqa: E402
from base.model.attention.rotary import Rotary, frequencies  # noqa: E402


def test_rotary_scores_depend_on_distance_alone_and_keep_norms():
    rotary = Rotary(SMALL.attention, 8, 32)
    q, k = torch.randn(8), torch.randn(8)
    rotated_q, rotated_k = (rotary(x.expand(1, 32, 1, 8))[0, :, 0] for x in (q, k))
    torch.testing.assert_close(rotated_q.norm(dim=-1), q.norm().expand(32))
    scores = rotated_q @ rotated_k.T
    for distance in (0, 3, 11):
        diagonal = scores.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)


def test_partial_rotary_turns_the_first_channels_alone():
    rotary, x = Rotary(replace(SMALL.attention, rope_dims=4), 8, 32), torch.randn(1, 32, 2, 8)
    whole = Rotary(SMALL.attention, 4, 32)
    actual = rotary(x)
    assert torch.equal(actual[..., 4:], x[..., 4:])
    assert_close(actual[..., :4], whole(x[..., :4]))
    angle = 7 * 10_000.0 ** (-2 / 4)  # position 7, second of two pairs
    x1, x2 = x[0, 7, 0, 1], x[0, 7, 0, 3]
    assert_close(actual[0, 7, 0, 1], x1 * math.cos(angle) + x2 * math.sin(angle))
    assert_close(actual[0, 7, 0, 3], x2 * math.cos(angle) - x1 * math.sin(angle))
    with pytest.raises(ValueError, match="rope_dims 10"):
        Rotary(replace(SMALL.attention, rope_dims=10), 8, 32)


def test_longer_contexts_rescale_the_frequencies():
    knobs = replace(SMALL.attention, rope_scaling="ntk", rope_train_length=1024)
    base = frequencies(knobs, 16, 2048)[1].item() ** -8  # f_1 = base^(-2/16)
    assert base == pytest.approx(22_082, abs=1)  # the base that all seeds train with
    plain = frequencies(replace(knobs, rope_scaling="none"), 16, 2048)
    assert_close(frequencies(knobs, 16, 1024), plain)  # nothing to stretch
    yarn = frequencies(replace(knobs, rope_scaling="yarn"), 16, 4096)
    assert torch.equal(yarn[:3], plain[:3])  # shares 0, 1/8, 1/4: fast pairs stay
    ramp = (torch.arange(8) / 8 - 0.25).clamp(min=0) / 0.75
    assert_close(plain / yarn, ramp * 3 + 1)


def test_polar_positions():
    knobs = SMALL.attention
    polar = initialized(PoPE(knobs, 4, 2, 16))
    assert_close(polar.phase, torch.full((2, 4), -4.0))
    with torch.no_grad():
        polar.phase.copy_(torch.tensor([[-1.0, 0.5, -7.0, -3.0], [0.0, -0.1, -6.0, 3.0]]))
    q, k = torch.randn(1, 16, 4, 4), torch.randn(1, 16, 2, 4)
    rotated_q, rotated_k = polar(q, k)
    delta = -2 * math.pi / (1 + (-polar.phase.detach()).exp())
    theta = knobs.rope_base ** (-torch.arange(4) / 4)
    for t, s, head in ((0, 0, 0), (9, 4, 1), (15, 2, 3), (5, 5, 2)):
        group = head // 2
        lengths = torch.log1p(q[0, t, head].exp()) * torch.log1p(k[0, s, group].exp())
        expected = (lengths * torch.cos((s - t) * theta + delta[group])).sum()
        assert_close(rotated_q[0, t, head] @ rotated_k[0, s, group], expected)
    (rotated_q.sum() + rotated_k.square().sum() + rotated_k.sum()).backward()
    assert (polar.phase.grad != 0).all()  # also where a clamp would have stopped it for good

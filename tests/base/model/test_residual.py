"""Residual streams against their formulas: blocks, U-Net skips, two lanes, hyper-connections."""

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import assert_close, initialized, initialized_model, perturb, perturbed, small_config  # noqa: E402

from base.model.attention.grouped_query import ForwardContext  # noqa: E402
from base.model.layers import initialize, rms_norm  # noqa: E402
from base.model.residual.block import Block, mix_init  # noqa: E402
from base.model.residual.hyper_connections import HyperConnections  # noqa: E402
from base.model.residual.parallel_residual import ParallelResidual  # noqa: E402
from base.model.residual.unet_skips import UNetSkips  # noqa: E402


def test_block_variants():
    x, x0 = torch.randn(1, 5, 32), torch.randn(1, 5, 32)
    context = ForwardContext(x0)

    def parts(block):
        mixed = block.mix * x + block.mix_first * x0
        return (
            mixed,
            lambda h: block.attention_gain * block.attention(h, context),
            lambda h: block.mlp_gain * block.mlp(h),
        )

    block = perturbed(Block(small_config(residual={"parallel_residual": "single", "parallel_layers": "1"}), 1))
    mixed, attention, mlp = parts(block)
    assert_close(block(x, context), mixed + attention(rms_norm(mixed)) + mlp(rms_norm(mixed)))
    block = perturbed(Block(small_config(residual={"hybrid_norm": True}), 1))
    mixed, attention, mlp = parts(block)
    y = rms_norm(mixed + attention(mixed))
    assert_close(block(x, context), y + mlp(y), atol=1e-4)
    v = block.attention.values(x, context).unflatten(-1, (2, 8))
    assert_close(v.square().mean(-1), torch.ones(1, 5, 2))
    block = perturbed(Block(small_config(residual={"ln_scale": True}), 3))
    mixed, attention, mlp = parts(block)
    y = mixed + attention(rms_norm(mixed) / 2)
    assert_close(block(x, context), y + mlp(rms_norm(y) / 2))


def test_initial_mix_of_x0():
    assert mix_init("phase", 0, 11) == pytest.approx(0.182, abs=5e-4)
    assert mix_init("phase", 5, 11) == pytest.approx(0.5)
    assert mix_init("phase", 10, 11) == pytest.approx(0.818, abs=5e-4)
    block = initialized(Block(small_config(residual={"resid_mix": "phase"}), 0))
    assert_close(block.mix + block.mix_first, torch.ones(32))
    assert mix_init("identity", 4, 11) == 1.0


def test_skips():
    x, skip = torch.randn(2, 3, 32), torch.randn(2, 3, 32)
    plain = perturbed(UNetSkips(small_config(residual={"unet_skips": "plain"}), 2))
    assert_close(plain(x, skip, 1), x + plain.weight[1] * skip)
    gated = UNetSkips(small_config(residual={"unet_skips": "gated"}), 2)
    assert_close(initialized(gated)(x, skip, 0), 0.5 * x + 0.5 * skip)
    gate = torch.sigmoid(perturb(gated).gate[1])
    assert_close(gated(x, skip, 1), gate * x + (1 - gate) * gated.weight[1] * skip)


def test_lanes():
    config = small_config(residual={"parallel_residual": "lanes", "parallel_layers": "-1:"})
    block, lanes = perturbed(Block(config, 1)), initialized(ParallelResidual())
    a, b, x0 = (torch.randn(1, 5, 32) for _ in range(3))
    context = ForwardContext(x0)
    attention_out = block.attention_gain * block.attention(rms_norm(block.mix * a + block.mix_first * x0), context)
    mlp_out = block.mlp_gain * block.mlp(rms_norm(b))
    assert_close(lanes(block, a, b, context), (1.1 * a + attention_out + mlp_out, 1.1 * b + attention_out + mlp_out))
    keep, post = perturb(lanes).keep, lanes.post
    expected = (
        keep[0] * a + post[0] * attention_out + post[2] * mlp_out,
        keep[1] * b + post[1] * attention_out + post[3] * mlp_out,
    )
    assert_close(lanes(block, a, b, context), expected)


def test_hyper_connections_start_as_the_plain_network():
    tokens = torch.randint(0, 97, (2, 20))
    plain = perturb(initialized_model())
    for count in (1, 3):
        model = perturb(initialized_model(small_config(residual={"hyper_streams": count})))
        initialize(model.streams, 1)
        assert_close(model.hidden(tokens), plain.hidden(tokens), atol=1e-4)
    module = perturbed(HyperConnections(small_config(residual={"hyper_streams": 3})))
    h = torch.randn(3, 1, 4, 32)
    layer_input = module.read(h[0], h[1:], 1)
    assert_close(layer_input, sum(module.reads[1, j] * h[j] for j in range(3)))
    update = torch.randn(1, 4, 32)
    x, extra_streams = module.write(h[0], h[1:], update, 1)
    for j, stream in enumerate((x, *extra_streams)):
        assert_close(stream, h[j] + module.writes[1, j] * update)

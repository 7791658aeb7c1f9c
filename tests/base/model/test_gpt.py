"""The whole network: causality, losses, gradients, the loop, backout, parameter counts, invalid combinations."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import (  # noqa: E402
    SMALL,
    assert_close,
    initialized,
    initialized_model,
    perturb,
    perturbed_model,
    small_config,
)

from base.model.attention.grouped_query import ForwardContext  # noqa: E402
from base.model.gpt import GPT, parameter_counts  # noqa: E402
from base.model.layers import rms_norm  # noqa: E402
from base.presets import pocket  # noqa: E402

LANES = {"parallel_residual": "lanes", "parallel_layers": "-1:"}


def test_no_output_depends_on_a_later_token():
    model = perturbed_model()
    tokens = torch.randint(0, 97, (2, 64))
    before = model.logits(model.hidden(tokens))
    for position in (1, 17, 63):
        changed = tokens.clone()
        changed[:, position:] = (changed[:, position:] + 1) % 97
        after = model.logits(model.hidden(changed))
        assert torch.equal(before[:, :position], after[:, :position])
        assert not torch.allclose(before[:, position], after[:, position])


def test_the_training_loss_is_the_scorers_loss():
    model = perturbed_model()
    tokens = torch.randint(0, 97, (4, 65))
    logits = model.logits(model.hidden(tokens[:, :-1]))
    slow = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    torch.testing.assert_close(model(tokens[:, :-1], tokens[:, 1:]), slow)


def test_every_parameter_receives_a_gradient():
    model = perturbed_model()
    model(torch.randint(0, 97, (4, 64)), torch.randint(0, 97, (4, 64))).backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


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


def test_looped_layers_run_in_the_records_order():
    config = small_config(model={"num_layers": 11}, residual={"loop_passes": 3, "unet_skips": "gated"})
    model = GPT(config)
    assert model.layer_order() == [0, 1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5, 6, 7, 8, 9, 10]
    assert len(model.skips.weight) == 8
    model.set_progress(0.34)
    assert model.layer_order() == list(range(11))
    model.set_progress(0.35)
    assert len(model.layer_order()) == 17
    plain = GPT(SMALL)
    plain.set_progress(0.0)
    assert plain.looping  # a flag that changes nothing would still trigger a recompile


def test_backout_takes_the_middle_out():
    model, plain = perturb(initialized_model(small_config(residual={"backout": True}))), perturb(initialized_model())
    tokens = torch.randint(0, 97, (1, 9))
    x = plain.embed(tokens)
    context = ForwardContext(x)
    first = plain.blocks[0](x, context)
    middle = plain.blocks[1](first, context)  # block 2 // 2
    assert_close(model.hidden(tokens), rms_norm(middle - model.backout * middle))
    assert initialized(GPT(small_config(residual={"backout": True}))).backout.item() == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"attention": {"differential": True, "polar_positions": True}}, "choose one"),
        ({"residual": {"loop_passes": 2, "loop_last": 9}}, "loop_last 9"),
        ({"residual": LANES | {"parallel_layers": "0"}}, "parallel_layers '0'"),
        ({"residual": LANES | {"loop_passes": 2, "loop_first": 1, "loop_last": 1}}, "must come after the loop"),
        ({"residual": {"parallel_residual": "single", "hybrid_norm": True}}, "choose one"),
        ({"residual": LANES | {"hyper_streams": 2}}, "choose one"),
        ({"embed": {"wavelet_dims": 7}}, "wavelet_dims 7"),
    ],
)  # fmt: skip
def test_an_invalid_combination_of_knobs_is_named(sections, message):
    with pytest.raises(ValueError, match=message):
        GPT(small_config(**sections))

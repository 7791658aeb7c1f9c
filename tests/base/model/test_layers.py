"""Layer slices and named initialization."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import SMALL, initialized_model  # noqa: E402

from base.model.gpt import GPT  # noqa: E402
from base.model.layers import initialize, normal, parameter, parse_layers  # noqa: E402


@pytest.mark.parametrize(
    ("slices", "actual"),
    [
        ("", set()),
        (":", {0, 1, 2, 3, 4}),
        ("-2:", {3, 4}),
        ("0,3", {0, 3}),
        ("1:3,-1", {1, 2, 4}),
        ("-9:", set(range(5))),
    ],
)
def test_layers_are_named_as_python_slices_them(slices, actual):
    assert parse_layers(slices, 5) == actual


@pytest.mark.parametrize("slices", ["7", "all", "1-3", "1:2:3:4", "1:x"])
def test_an_invalid_layer_is_named(slices):
    with pytest.raises(ValueError, match="expected indices and slices of 5"):
        parse_layers(slices, 5)


def test_a_draw_depends_on_seed_and_name_alone():
    first, second = initialized_model(), initialized_model()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.embedding, initialized_model(seed=2).embedding)


def test_an_added_parameter_leaves_the_others_draws_alone():
    plain = dict(initialized_model().named_parameters())
    model = GPT(SMALL)
    model.aaa_first = parameter(7, 5, init=normal(1.0))
    model.blocks[0].extra = parameter(3, init=normal(1.0))
    initialize(model, 1)
    more = dict(model.named_parameters())
    assert set(more) - set(plain) == {"aaa_first", "blocks.0.extra"}
    assert all(torch.equal(more[name], weight) for name, weight in plain.items())
    deeper = dataclasses.replace(SMALL, model=dataclasses.replace(SMALL.model, num_layers=3))
    deep = dict(initialized_model(deeper).named_parameters())
    assert all(torch.equal(deep[name], weight) for name, weight in plain.items())

"""Knobs: strict names and types, the environment's habit, and misspelt variables."""

from dataclasses import fields

import pytest

from base.config import Config
from base.overrides import describe_knobs, one_letter_apart, resolve, sections
from base.presets import PRESETS


def test_knob_names_are_unique_and_documented():
    names = [knob.name for section in fields(Config) for knob in fields(section.default)]
    assert len(names) == len(set(names)) == len(sections())
    assert all(knob["doc"] for knob in describe_knobs(Config()))


def test_assignment_beats_environment_beats_preset():
    config = resolve(Config(), ["num_layers=5"], {"NUM_LAYERS": "4", "MODEL_DIM": "64", "COMPILE": "1"})
    assert (config.model.num_layers, config.model.model_dim, config.run.compile) == (5, 64, True)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("num_layer=4", "did you mean 'num_layers'"),
        ("num_layers=four", "expects int, got 'four'"),
        ("compile=maybe", "expects bool"),
        ("num_layers", "NAME=VALUE"),
    ],
)
def test_a_wrong_assignment_is_an_error_that_helps(assignment, words):
    with pytest.raises(ValueError, match=words):
        resolve(Config(), [assignment], {})


@pytest.mark.parametrize("name", ["NUM_LAYER", "NUM_LAYERSS", "NUM_LYAERS", "SEEDS", "ITERATION"])
def test_a_variable_one_letter_off_is_an_error(name):
    with pytest.raises(ValueError, match="did you mean"):
        resolve(Config(), [], {name: "4"})


def test_foreign_variables_are_left_alone():
    names = [
        "PATH",
        "OMP_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES",
        "RANK",
        "LOCAL_RANK",
        "SSH_TTY",
        "num_layer",
        "LS_COLORS",
    ]
    assert resolve(Config(), [], dict.fromkeys(names, "1")) == Config()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("seed", "seed", False),
        ("seed", "sede", True),
        ("seed", "seeds", True),
        ("eed", "seed", True),
        ("abcd", "dcba", False),
    ],
)
def test_one_letter_apart(first, second, expected):
    assert one_letter_apart(first, second) is one_letter_apart(second, first) is expected


def test_presets_resolve():
    for name, preset in PRESETS.items():
        assert resolve(preset(), [], {}) == preset(), name

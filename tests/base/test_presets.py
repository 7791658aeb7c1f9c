"""Presets: exact parameter counts, networks against a slow reference, golden losses."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import perturbed  # noqa: E402
from helpers.base.reference_gpt import reference_logits  # noqa: E402
from helpers.tiny_profile import ROOT  # noqa: E402

from base.model.gpt import GPT, parameter_counts  # noqa: E402
from base.optim.optimizer import Optimizer  # noqa: E402
from base.presets import LEFT_OUT, PRESETS, PUBLISHED_PARAMETERS, RECIPES  # noqa: E402
from base.runtime import Runtime  # noqa: E402
from dev import golden  # noqa: E402


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_parameters_are_those_of_the_source_to_the_unit(name):
    left_out = sum(count for count, _ in LEFT_OUT.get(name, {}).values())
    assert parameter_counts(GPT(PRESETS[name]()))["total"] == PUBLISHED_PARAMETERS[name] - left_out


def test_the_numbers_are_those_of_the_reference():
    """The five of techniques.md 0.1, and #576's own log."""
    assert set(PUBLISHED_PARAMETERS.values()) == {
        26_993_766, 26_993_788, 27_301_064, 32_470_628, 27_201_116, 33_580_124,
    }  # fmt: skip
    assert sum(count for parts in LEFT_OUT.values() for count, _ in parts.values()) == 512 * 9 + 9  # #962's gate


def test_the_baseline_has_the_challenges_network():
    assert parameter_counts(GPT(PRESETS["baseline"]()))["total"] == 17_059_912


def test_the_challenge_has_the_records_parts():
    """The 1.0611 record has 35,945,671; its lanes also give the eight layers that never run as lanes 6 factors each."""
    assert parameter_counts(GPT(PRESETS["challenge"]()))["total"] == 35_945_671 - 8 * 6


def test_describe_lists_parameters_left_out():
    command = [sys.executable, "-m", "base", "describe", "--json", "--preset", "seed_962"]
    described = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert described["published"]["parameters"] == 32_470_628
    assert described["published"]["more"] == -4_617
    assert described["published"]["left_out"]["alpha_head"][0] == 4_617
    assert described["parameters"]["total"] == 32_466_011


def test_every_recipe_exists_at_pocket_width():
    for name in RECIPES:
        full, small = PRESETS[name](), PRESETS[f"{name}_pocket"]()
        assert small.model.num_layers == full.model.num_layers
        assert small.model.model_dim == 64
        assert small.residual == full.residual
        assert small.model.num_heads // small.model.num_kv_heads == full.model.num_heads // full.model.num_kv_heads
        if full.attention.rope_dims:
            assert small.attention.rope_dims / 32 == full.attention.rope_dims / 64


def small_network(name):
    """Return a preset at pocket width, its network with noise on every parameter, and a row of tokens."""
    config = PRESETS[f"{name}_pocket"]()
    tokens = torch.randint(0, 1024, (12,), generator=torch.Generator().manual_seed(0))
    return config, perturbed(GPT(config)), tokens


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "baseline"])
@torch.no_grad()
def test_the_network_agrees_with_the_slow_reference(name):
    config, model, tokens = small_network(name)
    tokens[5] = 1
    actual = model.logits(model.hidden(tokens[None]))[0]
    torch.testing.assert_close(actual, reference_logits(config, model.state_dict(), tokens), atol=2e-3, rtol=1e-3)


@torch.no_grad()
def test_738s_first_values_see_what_its_first_layer_reads():
    """The source of the value residual includes the read factor (.054 in logits at .95), and so does the reference."""
    config, model, tokens = small_network("seed_738")
    model.streams.reads.fill_(0.9)
    model.streams.writes.fill_(0.9)
    actual = model.logits(model.hidden(tokens[None]))[0]
    weights = model.state_dict()
    torch.testing.assert_close(actual, reference_logits(config, weights, tokens), atol=1e-4, rtol=1e-4)
    # x0 times .9 everywhere except in the first values: the network as it was before that fix
    unread = {**weights, "streams.reads": torch.cat((torch.ones(1, 1), weights["streams.reads"][1:]))}
    assert (actual - reference_logits(config, unread, tokens)).abs().max() > 1e-2


def test_738s_factors_do_not_decay():
    config, model, _ = small_network("seed_738")
    optimizer = Optimizer(config, model, Runtime(0, 1, torch.device("cpu"), torch.float32))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer.step(1.0, 0.9)  # zero gradients: only weight decay moves parameters
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert before.keys() - moved == {"streams.reads", "streams.writes"}


@torch.no_grad()
def test_576_has_plain_relu2():
    """Its logs print that source; a slope of .5, as in #569, gives other logits."""
    config, model, tokens = small_network("seed_576")
    actual = model.logits(model.hidden(tokens[None]))[0]
    torch.testing.assert_close(actual, reference_logits(config, model.state_dict(), tokens), atol=1e-4, rtol=1e-4)
    assert PRESETS["seed_576"]().model.leaky_slope == 0.0
    leaky = replace(config, model=replace(config.model, leaky_slope=0.5))
    assert (actual - reference_logits(leaky, model.state_dict(), tokens)).abs().max() > 1e-2


def test_qat_is_off_unless_a_log_shows_that_it_ran():
    for name in ("seed_576", "seed_962"):
        assert PRESETS[name]().quant.qat == "none"
        assert "off" in PRESETS[name].__doc__
    assert PRESETS["seed_576"]().quant.qat_start == 0.7185  # step 4,457 of 6,204, for a run that switches it on


FEW = ("pocket", "challenge_pocket")  # the others are slow


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FEW else pytest.mark.slow)
        for name in PRESETS
        if name.endswith(golden.SMALL)
    ],
)
def test_golden_losses(name):
    """Bit for bit on one machine (`make golden`); other machines agree to 1e-4 until training rounds its weights.

    Rounding magnifies another machine's last bit to a whole step of the grid: from there on 1e-2.
    """
    quant, (losses, stored) = PRESETS[name]().quant, (golden.losses(ROOT, name), golden.read(name))
    exact = len(stored) if quant.qat == "none" else int(quant.qat_start * len(stored))
    assert exact >= len(stored) // 2
    assert losses[:exact] == pytest.approx(stored[:exact], rel=1e-4)
    assert losses[exact:] == pytest.approx(stored[exact:], rel=1e-2)

"""Every technique alone and every preset: it has an effect, gets gradients, is causal, and survives its artifact."""

import dataclasses
from functools import cache

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import perturb  # noqa: E402
from helpers.base.scorers import vocabulary  # noqa: E402

from base.compress import artifact  # noqa: E402
from base.evaluate.scorer import Scorer  # noqa: E402
from base.export import load_model, weights_bytes  # noqa: E402
from base.model.attention.document_mask import BOS  # noqa: E402
from base.model.gpt import GPT  # noqa: E402
from base.model.layers import initialize  # noqa: E402
from base.overrides import override  # noqa: E402
from base.presets import PRESETS, RECIPES, pocket  # noqa: E402
from base.quant.calibration import Calibration  # noqa: E402
from base.runtime import Runtime, generator  # noqa: E402
from base.techniques import NETWORK  # noqa: E402

SMALL_PRESETS = [name for name in PRESETS if name.endswith("pocket")]
# Techniques that change initial weights or the training loss alone: the output stays.
START_ONLY = {"orthogonal_outputs", "phase_mix"}
TRAINING_ONLY = {"tokens_ahead"}


def config_of(name: str):
    if name in NETWORK:
        return override(pocket(), {knob: str(value) for knob, value in NETWORK[name].items()})
    return PRESETS[name]()


@cache
def model_of(name: str) -> GPT:
    """Initialize with one seed and add noise by name, so that parameters of equal name are equal in two models."""
    model = GPT(config_of(name))
    initialize(model, 1)
    return perturb(model)


def tokens(rows: int = 2, length: int = 48, seed: int = 0) -> torch.Tensor:
    """Rows with several documents in each."""
    draw = torch.randint(2, 1024, (rows, length), generator=torch.Generator().manual_seed(seed))
    draw[:, 11::17] = BOS
    return draw


@pytest.mark.parametrize("name", sorted(NETWORK.keys() - START_ONLY - TRAINING_ONLY))
def test_it_changes_the_output(name):
    plain, changed = (model.logits(model.hidden(tokens())) for model in (model_of("pocket"), model_of(name)))
    assert (plain - changed).abs().max() > 1e-3


@pytest.mark.parametrize("name", sorted(START_ONLY))
def test_it_changes_the_initial_weights(name):
    drawn = [GPT(config_of(which)) for which in ("pocket", name)]
    for model in drawn:
        initialize(model, 1)
    pairs = zip(drawn[0].parameters(), drawn[1].parameters(), strict=True)
    assert not all(torch.equal(one, other) for one, other in pairs)


def test_multi_token_prediction_changes_the_loss_alone():
    plain, changed = model_of("pocket"), model_of("tokens_ahead")
    assert torch.equal(plain.hidden(tokens()), changed.hidden(tokens()))
    assert not torch.equal(plain(tokens(), tokens(seed=1)), changed(tokens(), tokens(seed=1)))


@pytest.mark.parametrize("name", [*NETWORK, *SMALL_PRESETS])
def test_every_parameter_receives_a_gradient(name):
    model = model_of(name)
    model.zero_grad()
    model(tokens(4), tokens(4, seed=1)).backward()
    for parameter, weight in model.named_parameters():
        assert weight.grad is not None, parameter
        assert weight.grad.abs().sum() > 0, parameter


@pytest.mark.parametrize("name", [*NETWORK, *SMALL_PRESETS])
def test_no_output_depends_on_a_later_token(name):
    model, rows = model_of(name), tokens()
    with torch.no_grad():
        before = model.hidden(rows)
        for position in (1, 11, 12, 29, 47):
            for new in (BOS, 517):  # a document that begins or ends there, too
                changed = rows.clone()
                changed[:, position:] = (changed[:, position:] * 7 + 3) % 1024
                changed[:, position] = new
                after = model.hidden(changed)
                assert torch.equal(before[:, :position], after[:, :position]), (position, new)
                if not torch.equal(rows[:, position], changed[:, position]):
                    assert not torch.allclose(before[:, position:], after[:, position:]), (position, new)


def test_no_output_depends_on_a_later_token_before_the_loop_is_on():
    model, rows = model_of("challenge_pocket"), tokens()
    changed = rows.clone()
    changed[:, 20:] = 3
    try:
        model.looping = False
        assert torch.equal(model.hidden(rows)[:, :20], model.hidden(changed)[:, :20])
        off = model.hidden(rows)
    finally:
        model.looping = True
    assert not torch.allclose(off, model.hidden(rows), atol=1e-2)


@pytest.mark.parametrize("name", RECIPES)
@torch.no_grad()
def test_no_output_depends_on_a_later_token_at_full_width(name):
    model = GPT(PRESETS[name]())
    for parameter, weight in model.named_parameters():
        weight.normal_(0.0, 0.05, generator=generator(1, parameter))
    rows = tokens(1, 24)
    changed = rows.clone()
    changed[:, 13:] = (changed[:, 13:] * 7 + 3) % 1024
    before, after = model.hidden(rows), model.hidden(changed)
    assert torch.equal(before[:, :13], after[:, :13])
    assert not torch.allclose(before[:, 13:], after[:, 13:])


@pytest.mark.parametrize("name", [*NETWORK, *SMALL_PRESETS])
def test_rows_do_not_affect_each_other(name):
    model, rows = model_of(name), tokens()
    with torch.no_grad():
        torch.testing.assert_close(model.hidden(rows)[:1], model.hidden(rows[:1]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [*NETWORK, *SMALL_PRESETS])
def test_an_artifact_gives_back_the_scorer(name):
    """At 8 bits a second round trip changes nothing: the artifact holds the whole architecture."""
    config, model = config_of(name), model_of(name)
    config = dataclasses.replace(config, quant=dataclasses.replace(PRESETS["pocket"]().quant))
    cpu = Runtime(0, 1, torch.device("cpu"), torch.float32)

    def round_trip(config, model):
        blob = artifact.pack(weights_bytes(config, model, Calibration()), ("zstd",))
        return load_model(blob, config.eval, torch.float32, torch.device("cpu"))

    once = round_trip(config, model)
    again = round_trip(dataclasses.replace(config, model=once[0].model), once[1])
    assert once[0].attention == config.attention
    assert once[0].residual == config.residual
    stream = tokens(1, 200).numpy()[0].astype("uint16")
    losses = [Scorer(*pair[:1], cpu, pair[1], vocabulary(1024)).observe(stream) for pair in (once, again)]
    torch.testing.assert_close(*(torch.from_numpy(part) for part in losses), atol=2e-2, rtol=0)
    drift = (once[1].hidden(tokens()) - model.hidden(tokens())).abs().mean()
    assert drift < 0.1  # hidden states are normed to mean square 1


@pytest.mark.parametrize("name", SMALL_PRESETS)
def test_a_seed_draws_a_preset_the_same_twice(name):
    first, second = GPT(config_of(name)), GPT(config_of(name))
    initialize(first, 3)
    initialize(second, 3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert torch.isfinite(first(tokens(), tokens(seed=1)))

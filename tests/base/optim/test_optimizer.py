"""The optimizer: flat parameters, AdamW and clipping against torch's own, roles, late layers."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import SMALL, initialized_model, randn  # noqa: E402

from base.config import Config, Optim  # noqa: E402
from base.model.gpt import GPT  # noqa: E402
from base.optim.adamw import AdamW  # noqa: E402
from base.optim.flat_parameters import ALIGNMENT, flatten_parameters  # noqa: E402
from base.optim.optimizer import Optimizer  # noqa: E402
from base.presets import PRESETS, pocket  # noqa: E402
from base.runtime import Runtime  # noqa: E402

RUNTIME = Runtime(0, 1, torch.device("cpu"), torch.float32)


def test_flat_parameters_keep_values_and_hold_gradients():
    model, reference = initialized_model(), initialized_model()
    matrices = [weight for weight in model.parameters() if weight.shape == (32, 32)]
    rest = [weight for weight in model.parameters() if weight.shape != (32, 32)]
    flat = flatten_parameters([matrices], [rest], 4)
    assert len(flat.banks[0].weights) % 4 == 0
    assert flat.banks[0].weights[len(matrices) :].abs().sum() == 0
    tokens = torch.arange(64).view(2, 32) % 97
    for network in (model, reference):
        network(tokens, tokens).backward()
    for actual, expected in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(actual, expected)
        assert torch.equal(actual.grad, expected.grad)
        assert actual.data_ptr() % (4 * ALIGNMENT) == flat.weights.data_ptr() % (4 * ALIGNMENT)
    total = sum(weight.grad.square().sum() for weight in reference.parameters())
    torch.testing.assert_close(flat.grads.square().sum(), total)
    flat.weights.zero_()
    assert all(weight.abs().sum() == 0 for weight in model.parameters())


def test_adamw_is_torchs():
    weights, reference_weights = ([torch.nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4))] for _ in range(2))
    flat = flatten_parameters([], [weights], 1)
    adamw = AdamW(flat.groups[0], 0.1, (0.9, 0.95), 0.04)
    reference = torch.optim.AdamW(
        reference_weights, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.04, foreach=False
    )
    for step in range(20):
        gradient = randn(3, 4, seed=step)
        scale = 1.0 - step / 40
        weights[0].grad.copy_(gradient)
        reference_weights[0].grad = gradient.clone()
        adamw.step(scale)
        reference.param_groups[0]["lr"] = 0.1 * scale
        reference.step()
        torch.testing.assert_close(weights[0], reference_weights[0], atol=1e-6, rtol=1e-5)


def test_late_layers_really_learn_at_another_rate():
    """#1302 scaled their gradients, which Muon ignores; this scales the step itself."""
    moved = {}
    for scale in (1.0, 2.0):
        config = dataclasses.replace(SMALL, optim=Optim(late_layers="1:", late_lr_scale=scale, weight_decay=0.0))
        model = initialized_model(config)
        before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        optimizer = Optimizer(config, model, RUNTIME)
        tokens = torch.arange(64).view(2, 32) % 97
        model(tokens, tokens.flip(1)).backward()
        optimizer.step(1.0, 0.9)
        moved[scale] = {name: weight.detach() - before[name] for name, weight in model.named_parameters()}
    for name, once in moved[1.0].items():
        late = name.startswith("blocks.1.") and once.ndim == 2
        torch.testing.assert_close(moved[2.0][name], (2.0 if late else 1.0) * once, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("limit", [0.01, 1e9])
def test_clipping_is_torchs(limit):
    config = dataclasses.replace(SMALL, optim=Optim(grad_clip=limit))
    model, reference = initialized_model(config), initialized_model(config)
    optimizer = Optimizer(config, model, RUNTIME)
    tokens = torch.arange(64).view(2, 32) % 97
    for network in (model, reference):
        network(tokens, tokens.flip(1)).backward()
    optimizer.clip([bank.grads for bank in optimizer.flat.banks])
    torch.nn.utils.clip_grad_norm_(reference.parameters(), limit)
    for actual, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(actual.grad, expected.grad, atol=1e-9, rtol=1e-5)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name.endswith("pocket")])
def test_every_parameter_has_one_optimizer(preset):
    config = PRESETS[preset]()
    model = GPT(config)
    flat = Optimizer(config, model, RUNTIME).flat
    owned = [weight for group in flat.banks + flat.groups for weight in group.parameters]
    assert sorted(map(id, owned)) == sorted(map(id, model.parameters()))
    in_banks = {id(weight) for bank in flat.banks for weight in bank.parameters}
    for name, weight in model.named_parameters():
        projection = weight.role == "projection" and not config.optim.adamw_projections
        assert (id(weight) in in_banks) == (weight.role == "matrix" or projection), name


def test_a_parameter_without_a_role_is_refused():
    model = GPT(pocket())
    model.orphan = torch.nn.Parameter(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="orphan"):
        Optimizer(pocket(), model, RUNTIME)


def test_default_config_is_complete():
    assert Config().optim.matrix_lr > 0

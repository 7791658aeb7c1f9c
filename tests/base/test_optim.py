"""Optimisers, schedules and averaging against closed forms and torch's own."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from base.config import Config, Optim, Run  # noqa: E402
from base.model.gpt import GPT  # noqa: E402
from base.optim.adamw import AdamW  # noqa: E402
from base.optim.averaging import Average  # noqa: E402
from base.optim.groups import optimisers  # noqa: E402
from base.optim.muon import Muon, orthogonalise  # noqa: E402
from base.optim.schedule import lr_scale, muon_momentum  # noqa: E402
from base.presets import pocket  # noqa: E402


def test_adamw_is_torchs():
    ours, theirs = ([torch.nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4))] for _ in range(2))
    mine = AdamW(ours, 0.1, (0.9, 0.95), 0.04)
    reference = torch.optim.AdamW(theirs, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.04)
    for step in range(20):
        gradient = torch.randn(3, 4, generator=torch.Generator().manual_seed(step))
        scale = 1.0 - step / 40
        ours[0].grad, theirs[0].grad = gradient, gradient.clone()
        mine.step(scale)
        reference.param_groups[0]["lr"] = 0.1 * scale
        reference.step()
        torch.testing.assert_close(ours[0], theirs[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", [(64, 64), (192, 64), (64, 192), (3, 32, 64)])
def test_a_muon_update_is_nearly_orthogonal(shape):
    u, _, vh = torch.linalg.svd(torch.randn(shape, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    stretched = u * torch.linspace(0.05, 1.0, min(shape[-2:])) @ vh
    values = torch.linalg.svdvals(orthogonalise(stretched, 5))
    assert values.min() > 0.6
    assert values.max() < 1.3
    back = u.mT @ orthogonalise(stretched, 5) @ vh.mT  # the same singular vectors: only their values move
    torch.testing.assert_close(back, torch.diag_embed(back.diagonal(dim1=-2, dim2=-1)), atol=1e-4, rtol=0)


def test_a_muon_step_ignores_the_scale_of_the_gradient():
    steps = []
    for scale in (1.0, 1000.0):
        weight = torch.nn.Parameter(torch.zeros(32, 16))
        weight.grad = scale * torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
        Muon([weight], 0.1, 0.0, 5, torch.float32).step(1.0, 0.9)
        steps.append(weight.detach())
    torch.testing.assert_close(*steps)


def test_muon_on_a_stack_is_muon_on_each():
    """Parameters of one shape share a batched Newton-Schulz; alone each gives the same weights."""
    together = [torch.nn.Parameter(torch.randn(24, 16, generator=torch.Generator().manual_seed(i))) for i in range(3)]
    alone = [torch.nn.Parameter(weight.detach().clone()) for weight in together]
    optimiser = Muon(together, 0.1, 0.04, 5, torch.float32)
    singles = [Muon([weight], 0.1, 0.04, 5, torch.float32) for weight in alone]
    for step in range(4):
        for i, (a, b) in enumerate(zip(together, alone, strict=True)):
            a.grad = torch.randn(24, 16, generator=torch.Generator().manual_seed(100 * step + i))
            b.grad = a.grad.clone()
        optimiser.step(0.5, 0.9)
        for single in singles:
            single.step(0.5, 0.9)
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_every_parameter_has_one_optimiser():
    config = pocket()
    model = GPT(config)
    muon, adamws = optimisers(config, model, torch.float32)
    held = [weight for weights, _ in muon.stacks for weight in weights]
    held += [weight for adamw in adamws for weight in adamw.weights]
    assert sorted(map(id, held)) == sorted(map(id, model.parameters()))
    model.orphan = torch.nn.Parameter(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="orphan"):
        optimisers(config, model, torch.float32)


def test_lr_at_its_corner_points():
    run, optim = Run(iterations=100), Optim(warmdown_iterations=40)
    assert [lr_scale(run, optim, step, 0.0) for step in (0, 60, 80, 100)] == [1.0, 1.0, 0.5, 0.0]
    timed = dataclasses.replace(run, iterations=10**9, max_wallclock_seconds=100.0)
    assert lr_scale(timed, optim, 50, 50.0) == 1.0  # 40 steps of 1 s fit in the 50 s left
    assert lr_scale(timed, optim, 80, 80.0) == pytest.approx(0.5)
    assert lr_scale(timed, optim, 101, 101.0) == 0.0
    assert lr_scale(timed, optim, 1, 60.0) == 1.0  # a slow first step starts no warmdown


def test_momentum_rises_linearly():
    optim = Optim(muon_momentum_start=0.8, muon_momentum=0.9, muon_momentum_steps=10)
    assert [muon_momentum(optim, step) for step in (0, 5, 10, 99)] == pytest.approx([0.8, 0.85, 0.9, 0.9])


def test_the_average_is_its_closed_form():
    model = torch.nn.Linear(3, 2)
    average = Average(model, 0.9)
    expected = model.weight.detach().clone()
    for step in range(200):
        with torch.no_grad():
            model.weight.normal_()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
        average.update(step)
    average.apply()
    torch.testing.assert_close(model.weight.detach(), expected)


def test_no_average_means_the_last_weights():
    model = torch.nn.Linear(3, 2)
    average = Average(model, 0.0)
    with torch.no_grad():
        model.weight.normal_()
    last = model.weight.detach().clone()
    average.update(5)
    average.apply()
    assert torch.equal(model.weight, last)


def test_default_config_is_complete():
    assert Config().optim.matrix_lr > 0

"""Optimisers over one storage, against closed forms, slow twins and torch's own."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from small_model import SMALL, drawn  # noqa: E402

from base.config import Config, Optim  # noqa: E402
from base.model.gpt import GPT  # noqa: E402
from base.optim.adamw import AdamW  # noqa: E402
from base.optim.muon import COEFFICIENTS, Muon, orthogonalise  # noqa: E402
from base.optim.optimiser import Optimiser  # noqa: E402
from base.optim.storage import ALIGNMENT, store  # noqa: E402
from base.presets import PRESETS, pocket  # noqa: E402
from base.runtime import Runtime  # noqa: E402

HERE = Runtime(0, 1, torch.device("cpu"), torch.float32)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def muon(weights, **knobs):
    """Muon over matrices of one shape, and one step of it."""
    held = store([weights], [], 1)
    optim = Optim(**{"matrix_lr": 0.1, "weight_decay": 0.0, **knobs})
    made = Muon(optim, held.banks, [torch.ones(len(weights), 1, 1)], HERE)

    def step(lr_scale, momentum):
        with torch.no_grad():
            made.apply(made.send_updates([share() for share in made.send_gradients()], momentum), lr_scale)

    return step


def test_a_storage_keeps_values_and_gathers_gradients():
    model, twin = drawn(), drawn()
    matrices = [weight for weight in model.parameters() if weight.shape == (32, 32)]
    others = [weight for weight in model.parameters() if weight.shape != (32, 32)]
    held = store([matrices], [others], 4)
    assert len(held.banks[0].weights) % 4 == 0
    assert held.banks[0].weights[len(matrices) :].abs().sum() == 0
    tokens = torch.arange(64).view(2, 32) % 97
    for one in (model, twin):
        one(tokens, tokens).backward()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(ours.grad, theirs.grad)
        assert ours.data_ptr() % (4 * ALIGNMENT) == held.weights.data_ptr() % (4 * ALIGNMENT)
    total = sum(weight.grad.square().sum() for weight in twin.parameters())
    torch.testing.assert_close(held.grads.square().sum(), total)
    held.weights.zero_()
    assert all(weight.abs().sum() == 0 for weight in model.parameters())


def test_adamw_is_torchs():
    ours, theirs = ([torch.nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4))] for _ in range(2))
    held = store([], [ours], 1)
    mine = AdamW(held.groups[0], 0.1, (0.9, 0.95), 0.04)
    reference = torch.optim.AdamW(theirs, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.04, foreach=False)
    for step in range(20):
        gradient = random(3, 4, seed=step)
        scale = 1.0 - step / 40
        ours[0].grad.copy_(gradient)
        theirs[0].grad = gradient.clone()
        mine.step(scale)
        reference.param_groups[0]["lr"] = 0.1 * scale
        reference.step()
        torch.testing.assert_close(ours[0], theirs[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", [(64, 64), (192, 64), (64, 192), (3, 32, 64)])
def test_a_muon_update_is_nearly_orthogonal(shape):
    u, _, vh = torch.linalg.svd(random(*shape), full_matrices=False)
    stretched = u * torch.linspace(0.05, 1.0, min(shape[-2:])) @ vh
    values = torch.linalg.svdvals(orthogonalise(stretched, 5))
    assert values.min() > 0.6
    assert values.max() < 1.3
    back = u.mT @ orthogonalise(stretched, 5) @ vh.mT  # the same singular vectors: only their values move
    torch.testing.assert_close(back, torch.diag_embed(back.diagonal(dim1=-2, dim2=-1)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("smallest", [0.3, 0.01, 0.003])
def test_polar_express_reaches_further_down(smallest):
    """Its five polynomials bring small singular values nearer to 1 than five of Newton-Schulz's (arXiv 2505.16932)."""
    u, _, vh = torch.linalg.svd(random(64, 96), full_matrices=False)
    stretched = u * torch.logspace(0, torch.tensor(smallest).log10().item(), 64) @ vh
    classic, express = (torch.linalg.svdvals(orthogonalise(stretched, 5, kind)) for kind in COEFFICIENTS)
    assert 0.6 < express.min()
    assert express.max() < 1.3
    assert (express - 1).abs().mean() < (classic - 1).abs().mean()


@pytest.mark.parametrize("kind", COEFFICIENTS)
def test_the_iteration_is_its_polynomial_on_singular_values(kind):
    g = random(12, 20)
    u, values, vh = torch.linalg.svd(g.double(), full_matrices=False)
    values = values / values.square().sum().sqrt()
    for step in range(7):
        a, b, c = COEFFICIENTS[kind][min(step, len(COEFFICIENTS[kind]) - 1)]
        values = a * values + b * values**3 + c * values**5
    torch.testing.assert_close(orthogonalise(g, 7, kind).double(), u * values @ vh, atol=1e-4, rtol=1e-3)


def test_a_muon_step_ignores_the_scale_of_the_gradient():
    steps = []
    for scale in (1.0, 1000.0):
        weight = torch.nn.Parameter(torch.zeros(32, 16))
        step = muon([weight])
        weight.grad.copy_(scale * random(32, 16))
        step(1.0, 0.9)
        steps.append(weight.detach())
    torch.testing.assert_close(*steps)


@pytest.mark.parametrize("knobs", [{}, {"muon_row_norm": True}, {"orthogonaliser": "polar_express"}])
def test_muon_on_a_stack_is_muon_on_each(knobs):
    """Parameters of one shape share a batched Newton-Schulz; alone each gives the same weights."""
    together = [torch.nn.Parameter(random(24, 16, seed=i)) for i in range(3)]
    alone = [torch.nn.Parameter(weight.detach().clone()) for weight in together]
    step = muon(together, weight_decay=0.04, **knobs)
    singles = [muon([weight], weight_decay=0.04, **knobs) for weight in alone]
    for number in range(4):
        for i, (a, b) in enumerate(zip(together, alone, strict=True)):
            a.grad.copy_(random(24, 16, seed=100 * number + i))
            b.grad.copy_(a.grad)
        step(0.5, 0.9)
        for single in singles:
            single(0.5, 0.9)
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_muon_equals_its_formula():
    """Two steps by hand: momentum, Nesterov, exact polynomial, shape factor, decoupled decay."""
    weight = torch.nn.Parameter(random(24, 16))
    by_hand, buffer = weight.detach().clone(), torch.zeros(24, 16)
    step = muon([weight], weight_decay=0.3)
    for number in range(2):
        gradient = random(24, 16, seed=number + 1)
        weight.grad.copy_(gradient)
        step(0.5, 0.9)
        buffer = 0.9 * buffer + gradient
        update = orthogonalise((gradient + 0.9 * buffer).mT, 5).mT
        by_hand = by_hand * (1 - 0.05 * 0.3) - 0.05 * 1.5**0.5 * update
    torch.testing.assert_close(weight.detach(), by_hand, atol=1e-5, rtol=1e-4)


def test_rows_of_norm_one_go_into_muon_eq():
    """A row's scale is no matter with muon_row_norm, and is one without."""
    gradient, scales = random(16, 24), torch.logspace(-2, 2, 16)[:, None]
    for knobs, same in (({"muon_row_norm": True}, True), ({}, False)):
        weights = [torch.nn.Parameter(torch.zeros(16, 24)) for _ in range(2)]
        for weight, scale in zip(weights, (1.0, scales), strict=True):
            step = muon([weight], **knobs)
            weight.grad.copy_(scale * gradient)
            step(1.0, 0.0)
        assert torch.allclose(*weights, atol=1e-4) == same


def test_mousse_is_its_formula():
    """One matrix, one step: rotate by the eigenvectors of the means, divide, orthogonalise, rotate back."""
    weight, gradient = torch.nn.Parameter(torch.zeros(8, 12)), random(8, 12)
    step = muon([weight], mousse=True)
    weight.grad.copy_(gradient)
    step(1.0, 0.0)
    bases, powers = [], []
    for product in (gradient @ gradient.mT, gradient.mT @ gradient):
        values, vectors = torch.linalg.eigh(product * (len(product) / product.trace()) + 1e-6 * torch.eye(len(product)))
        bases.append(vectors)
        powers.append(values.clamp_min(1e-6) ** -0.125)
    even = powers[0][:, None] * (bases[0].mT @ gradient @ bases[1]) * powers[1]
    expected = -0.1 * bases[0] @ orthogonalise(even, 5) @ bases[1].mT
    torch.testing.assert_close(weight.detach(), expected, atol=1e-4, rtol=1e-3)


def test_late_layers_really_learn_at_another_rate():
    """#1302 scaled their gradients, which Muon ignores; here the step itself is as much longer."""
    moved = {}
    for scale in (1.0, 2.0):
        config = dataclasses.replace(SMALL, optim=Optim(late_layers="1:", late_lr_scale=scale, weight_decay=0.0))
        model = drawn(config)
        before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        optimiser = Optimiser(config, model, HERE)
        tokens = torch.arange(64).view(2, 32) % 97
        model(tokens, tokens.flip(1)).backward()
        optimiser.step(1.0, 0.9)
        moved[scale] = {name: weight.detach() - before[name] for name, weight in model.named_parameters()}
    for name, once in moved[1.0].items():
        late = name.startswith("blocks.1.") and once.ndim == 2
        torch.testing.assert_close(moved[2.0][name], (2.0 if late else 1.0) * once, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("limit", [0.01, 1e9])
def test_clipping_is_torchs(limit):
    config = dataclasses.replace(SMALL, optim=Optim(grad_clip=limit))
    model, twin = drawn(config), drawn(config)
    optimiser = Optimiser(config, model, HERE)
    tokens = torch.arange(64).view(2, 32) % 97
    for one in (model, twin):
        one(tokens, tokens.flip(1)).backward()
    optimiser.clip([bank.grads for bank in optimiser.storage.banks])
    torch.nn.utils.clip_grad_norm_(twin.parameters(), limit)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-9, rtol=1e-5)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name.endswith("pocket")])
def test_every_parameter_has_one_optimiser(preset):
    config = PRESETS[preset]()
    model = GPT(config)
    storage = Optimiser(config, model, HERE).storage
    held = [weight for group in storage.banks + storage.groups for weight in group.parameters]
    assert sorted(map(id, held)) == sorted(map(id, model.parameters()))
    in_banks = {id(weight) for bank in storage.banks for weight in bank.parameters}
    for name, weight in model.named_parameters():
        projection = weight.role == "projection" and not config.optim.adamw_projections
        assert (id(weight) in in_banks) == (weight.role == "matrix" or projection), name


def test_a_parameter_without_a_role_is_refused():
    model = GPT(pocket())
    model.orphan = torch.nn.Parameter(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="orphan"):
        Optimiser(pocket(), model, HERE)


def test_default_config_is_complete():
    assert Config().optim.matrix_lr > 0

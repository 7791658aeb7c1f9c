"""Muon and Mousse: the iteration on singular values, steps against their formulas."""

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import randn  # noqa: E402

from base.config import Optim  # noqa: E402
from base.optim.flat_parameters import flatten_parameters  # noqa: E402
from base.optim.muon import COEFFICIENTS, Muon, orthogonalize  # noqa: E402
from base.runtime import Runtime  # noqa: E402

RUNTIME = Runtime(0, 1, torch.device("cpu"), torch.float32)


def muon(weights, **knobs):
    """Return a function that runs one step of Muon over matrices of one shape."""
    flat = flatten_parameters([weights], [], 1)
    optim = Optim(**{"matrix_lr": 0.1, "weight_decay": 0.0, **knobs})
    optimizer = Muon(optim, flat.banks, [torch.ones(len(weights), 1, 1)], RUNTIME)

    def step(lr_scale, momentum):
        with torch.no_grad():
            optimizer.apply(
                optimizer.gather_updates([gradient() for gradient in optimizer.reduce_gradients()], momentum), lr_scale
            )

    return step


@pytest.mark.parametrize("shape", [(64, 64), (192, 64), (64, 192), (3, 32, 64)])
def test_a_muon_update_is_nearly_orthogonal(shape):
    u, _, vh = torch.linalg.svd(randn(*shape), full_matrices=False)
    stretched = u * torch.linspace(0.05, 1.0, min(shape[-2:])) @ vh
    values = torch.linalg.svdvals(orthogonalize(stretched, 5))
    assert values.min() > 0.6
    assert values.max() < 1.3
    back = u.mT @ orthogonalize(stretched, 5) @ vh.mT  # equal singular vectors: only the singular values move
    torch.testing.assert_close(back, torch.diag_embed(back.diagonal(dim1=-2, dim2=-1)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("smallest", [0.3, 0.01, 0.003])
def test_polar_express_reaches_further_down(smallest):
    """Its five polynomials bring small singular values nearer to 1 than five of Newton-Schulz's (arXiv 2505.16932)."""
    u, _, vh = torch.linalg.svd(randn(64, 96), full_matrices=False)
    stretched = u * torch.logspace(0, torch.tensor(smallest).log10().item(), 64) @ vh
    classic, express = (torch.linalg.svdvals(orthogonalize(stretched, 5, kind)) for kind in COEFFICIENTS)
    assert 0.6 < express.min()
    assert express.max() < 1.3
    assert (express - 1).abs().mean() < (classic - 1).abs().mean()


@pytest.mark.parametrize("kind", COEFFICIENTS)
def test_the_iteration_is_its_polynomial_on_singular_values(kind):
    g = randn(12, 20)
    u, values, vh = torch.linalg.svd(g.double(), full_matrices=False)
    values = values / values.square().sum().sqrt()
    for step in range(7):
        a, b, c = COEFFICIENTS[kind][min(step, len(COEFFICIENTS[kind]) - 1)]
        values = a * values + b * values**3 + c * values**5
    torch.testing.assert_close(orthogonalize(g, 7, kind).double(), u * values @ vh, atol=1e-4, rtol=1e-3)


def test_a_muon_step_ignores_the_scale_of_the_gradient():
    steps = []
    for scale in (1.0, 1000.0):
        weight = torch.nn.Parameter(torch.zeros(32, 16))
        step = muon([weight])
        weight.grad.copy_(scale * randn(32, 16))
        step(1.0, 0.9)
        steps.append(weight.detach())
    torch.testing.assert_close(*steps)


@pytest.mark.parametrize("knobs", [{}, {"muon_row_norm": True}, {"orthogonaliser": "polar_express"}])
def test_muon_on_a_stack_is_muon_on_each(knobs):
    """Parameters of one shape share a batched Newton-Schulz, with the same weights as each alone."""
    together = [torch.nn.Parameter(randn(24, 16, seed=i)) for i in range(3)]
    alone = [torch.nn.Parameter(weight.detach().clone()) for weight in together]
    step = muon(together, weight_decay=0.04, **knobs)
    singles = [muon([weight], weight_decay=0.04, **knobs) for weight in alone]
    for number in range(4):
        for i, (a, b) in enumerate(zip(together, alone, strict=True)):
            a.grad.copy_(randn(24, 16, seed=100 * number + i))
            b.grad.copy_(a.grad)
        step(0.5, 0.9)
        for single in singles:
            single(0.5, 0.9)
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_muon_equals_its_formula():
    """Two steps by hand: momentum, Nesterov, exact polynomial, shape factor, decoupled decay."""
    weight = torch.nn.Parameter(randn(24, 16))
    by_hand, buffer = weight.detach().clone(), torch.zeros(24, 16)
    step = muon([weight], weight_decay=0.3)
    for number in range(2):
        gradient = randn(24, 16, seed=number + 1)
        weight.grad.copy_(gradient)
        step(0.5, 0.9)
        buffer = 0.9 * buffer + gradient
        update = orthogonalize((gradient + 0.9 * buffer).mT, 5).mT
        by_hand = by_hand * (1 - 0.05 * 0.3) - 0.05 * 1.5**0.5 * update
    torch.testing.assert_close(weight.detach(), by_hand, atol=1e-5, rtol=1e-4)


def test_muon_eq_normalizes_rows():
    """With muon_row_norm the scale of a row does not matter; without it, it does."""
    gradient, scales = randn(16, 24), torch.logspace(-2, 2, 16)[:, None]
    for knobs, same in (({"muon_row_norm": True}, True), ({}, False)):
        weights = [torch.nn.Parameter(torch.zeros(16, 24)) for _ in range(2)]
        for weight, scale in zip(weights, (1.0, scales), strict=True):
            step = muon([weight], **knobs)
            weight.grad.copy_(scale * gradient)
            step(1.0, 0.0)
        assert torch.allclose(*weights, atol=1e-4) == same


def test_mousse_is_its_formula():
    """One matrix, one step: rotate by the eigenvectors of the means, divide, orthogonalize, rotate back."""
    weight, gradient = torch.nn.Parameter(torch.zeros(8, 12)), randn(8, 12)
    step = muon([weight], mousse=True)
    weight.grad.copy_(gradient)
    step(1.0, 0.0)
    bases, powers = [], []
    for product in (gradient @ gradient.mT, gradient.mT @ gradient):
        values, vectors = torch.linalg.eigh(product * (len(product) / product.trace()) + 1e-6 * torch.eye(len(product)))
        bases.append(vectors)
        powers.append(values.clamp_min(1e-6) ** -0.125)
    whitened = powers[0][:, None] * (bases[0].mT @ gradient @ bases[1]) * powers[1]
    expected = -0.1 * bases[0] @ orthogonalize(whitened, 5) @ bases[1].mT
    torch.testing.assert_close(weight.detach(), expected, atol=1e-4, rtol=1e-3)

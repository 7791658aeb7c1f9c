"""The Triton kernels against their eager references, in Triton's interpreter: needs triton, but no GPU."""

import os

import pytest

os.environ["TRITON_INTERPRET"] = "1"  # before triton is imported
torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="triton comes with a CUDA build of torch")
pytestmark = pytest.mark.torch

from base.model.kernels.loss import fused_cross_entropy  # noqa: E402
from base.model.kernels.mlp import fused_mlp  # noqa: E402


@pytest.mark.parametrize("cap", [5.0, 30.0])
def test_the_loss_and_its_gradient(cap):
    torch.manual_seed(0)
    z = (10 * torch.randn(7, 1500)).requires_grad_()  # more than one block, a ragged last one
    targets = torch.randint(0, 1500, (7,))
    slow = torch.nn.functional.cross_entropy(cap * torch.tanh(z / cap), targets)
    (expected,) = torch.autograd.grad(3.0 * slow, z)
    fast = fused_cross_entropy(z.detach().clone().requires_grad_(), targets, cap)
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-5)
    copy = z.detach().clone().requires_grad_()
    (actual,) = torch.autograd.grad(3.0 * fused_cross_entropy(copy, targets, cap), copy)
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_the_mlp_and_its_gradients(slope):
    torch.manual_seed(0)
    shapes = (2, 70, 40), (150, 40), (40, 150)  # no dimension is a multiple of a tile's
    x, up, down = (torch.randn(shape, requires_grad=True) for shape in shapes)
    slow = torch.nn.functional.leaky_relu(x @ up.T, slope).square() @ down.T
    fast = fused_mlp(x, up, down, slope)
    torch.testing.assert_close(fast, slow, atol=1e-3, rtol=1e-4)
    grad = torch.randn_like(slow)
    expected = torch.autograd.grad(slow, (x, up, down), grad)
    for actual, wanted in zip(torch.autograd.grad(fast, (x, up, down), grad), expected, strict=True):
        torch.testing.assert_close(actual, wanted, atol=1e-2, rtol=1e-3)

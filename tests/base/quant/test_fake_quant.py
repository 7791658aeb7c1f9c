"""Fake quantization: the export's own grid, enabled on time, inside torch.compile too; CROWN-Q's gradient."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import SMALL, initialized_model  # noqa: E402

from base.config import Quant  # noqa: E402
from base.quant import grids  # noqa: E402
from base.quant.fake_quant import MAX_SHARPNESS, FakeQuantize, crown_q_gradient, soft_round  # noqa: E402

CPU = torch.device("cpu")
TOKENS = torch.arange(64).view(2, 32) % 97


def rounded_model(**knobs):
    config = dataclasses.replace(SMALL, quant=Quant(**{"matrix_bits": 4, "qat": "ste", "qat_start": 0.5, **knobs}))
    model = initialized_model(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():  # projections start at zero
            if weight.role == "matrix" and not weight.any():
                weight.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    return model, FakeQuantize(config.quant, model, CPU)


@pytest.mark.parametrize("clip", [0.0, 2.0])
def test_hard_rounding_is_the_exports_own(clip):
    weight = torch.randn(8, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    fake_quant = FakeQuantize(Quant(qat="ste", matrix_bits=5, matrix_clip_sigmas=clip), torch.nn.Identity(), CPU)
    fake_quant.set_progress(1.0)
    rounded = fake_quant(weight)
    torch.testing.assert_close(rounded, grids.dequantize(*grids.quantize(weight.detach(), 5, clip)))
    push = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))
    rounded.backward(push)
    assert torch.equal(weight.grad, push)  # straight through


def test_soft_rounding_goes_from_identity_to_hard():
    y = torch.linspace(-4.9, 4.9, 197)
    torch.testing.assert_close(soft_round(y, torch.tensor(1e-2)), y, atol=1e-4, rtol=0)
    inside = (y - y.floor() - 0.5).abs() > 0.01
    torch.testing.assert_close(soft_round(y, torch.tensor(1e4))[inside], y.round()[inside])
    for sharpness in (1.0, 4.0, 16.0):
        rounded = soft_round(y, torch.tensor(sharpness))
        assert (rounded.diff() >= 0).all()
        whole = torch.arange(-4.0, 5.0)
        torch.testing.assert_close(soft_round(whole, torch.tensor(sharpness)), whole)
        torch.testing.assert_close(soft_round(-y, torch.tensor(sharpness)), -rounded, atol=1e-5, rtol=0)


def test_no_weight_is_cut_off_from_its_gradient():
    """fp16 scales are rounded, so that half of all rows have their largest weight just beyond the grid's end."""
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    fake_quant = FakeQuantize(Quant(qat="soft", matrix_bits=5), torch.nn.Identity(), CPU)
    fake_quant.set_progress(0.85)
    fake_quant(weight).sum().backward()
    assert weight.grad.count_nonzero() == weight.numel()


def test_soft_rounding_has_its_own_slope():
    y = torch.linspace(-1.95, 1.95, 40, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: soft_round(y, torch.tensor(4.0, dtype=torch.float64)), y)


def test_it_starts_at_qat_start_and_sharpens_to_the_end():
    model, fake_quant = rounded_model(qat="soft")
    plain = initialized_model(model.config)
    plain.load_state_dict(model.state_dict())
    losses, sharpness = [], []
    for progress in (0.0, 0.49, 0.5, 0.75, 1.0):
        fake_quant.set_progress(progress)
        losses.append(model(TOKENS, TOKENS).item())
        sharpness.append(fake_quant.sharpness.item())
    assert losses[0] == losses[1] == plain(TOKENS, TOKENS).item()
    assert len({*losses[1:]}) == 4
    assert sharpness == pytest.approx([1.0, 1.0, 1.0, (1 + MAX_SHARPNESS) / 2, MAX_SHARPNESS])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ste", "soft"])
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_the_compiled_program_is_really_rounded(kind, backend):
    """The seeds' flag was folded into the compiled program and never came on (#315). This one triggers a recompile, and
    the sharpness changes without one."""
    model, fake_quant = rounded_model(qat=kind)
    torch._dynamo.reset()  # another test's programs count against the same limit
    compiled = torch.compile(model, dynamic=False, backend=backend, fullgraph=True)
    losses_at = {}
    for progress in (0.0, 0.5, 1.0, 0.0, 1.0):
        fake_quant.set_progress(progress)
        loss = compiled(TOKENS, TOKENS)
        torch.testing.assert_close(loss, model(TOKENS, TOKENS), atol=1e-5, rtol=1e-5)
        assert losses_at.setdefault(progress, loss.item()) == loss.item()
    assert abs(losses_at[1.0] - losses_at[0.0]) > 1e-4
    assert (losses_at[1.0] == losses_at[0.5]) == (kind == "ste")
    counted = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    fake_quant.set_progress(0.9)
    compiled(TOKENS, TOKENS)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == counted


def test_the_loss_that_is_trained_is_the_exports():
    """The loss after export is the loss that was trained, the purpose of hard fake_quant."""
    model, fake_quant = rounded_model()
    fake_quant.set_progress(1.0)
    trained = model(TOKENS, TOKENS).item()
    fake_quant.set_progress(0.0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.role in ("matrix", "projection"):
                weight.copy_(grids.dequantize(*grids.quantize(weight, 4)))
    assert model(TOKENS, TOKENS).item() == pytest.approx(trained, abs=1e-5)


def test_crown_q_is_the_gradient_of_its_penalty():
    weights = torch.randn(3, 6, 10, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    steps = weights.detach().abs().amax(dim=-1, keepdim=True) / 15
    penalty = 0.01 / 12 * sum((matrix**2 * step**2).mean() for matrix, step in zip(weights, steps, strict=True))
    penalty.backward()
    torch.testing.assert_close(crown_q_gradient(weights.detach(), 5, 0.01), weights.grad)

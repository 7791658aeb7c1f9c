"""Rounding in training: the export's own grid, on when it should be, and on inside torch.compile as well."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from small_model import SMALL, drawn  # noqa: E402

from base.config import Quant  # noqa: E402
from base.quant import grids  # noqa: E402
from base.quant.rounding import SHARPEST, Rounding, crown_q_gradient, soft_round  # noqa: E402

CPU = torch.device("cpu")
TOKENS = torch.arange(64).view(2, 32) % 97


def rounded_model(**knobs):
    config = dataclasses.replace(SMALL, quant=Quant(**{"matrix_bits": 4, "qat": "ste", "qat_start": 0.5, **knobs}))
    model = drawn(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():  # projections start at zero; wake them
            if weight.role == "matrix" and not weight.any():
                weight.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    return model, Rounding(config.quant, model, CPU)


@pytest.mark.parametrize("clip", [0.0, 2.0])
def test_hard_rounding_is_the_exports_own(clip):
    weight = torch.randn(8, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rounding = Rounding(Quant(qat="ste", matrix_bits=5, matrix_clip_sigmas=clip), torch.nn.Identity(), CPU)
    rounding.reach(1.0)
    seen = rounding(weight)
    torch.testing.assert_close(seen, grids.dequantise(*grids.quantise(weight.detach(), 5, clip)))
    push = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))
    seen.backward(push)
    assert torch.equal(weight.grad, push)  # straight through


def test_soft_rounding_goes_from_identity_to_hard():
    y = torch.linspace(-4.9, 4.9, 197)
    torch.testing.assert_close(soft_round(y, torch.tensor(1e-2)), y, atol=1e-4, rtol=0)
    inside = (y - y.floor() - 0.5).abs() > 0.01
    torch.testing.assert_close(soft_round(y, torch.tensor(1e4))[inside], y.round()[inside])
    for sharpness in (1.0, 4.0, 16.0):
        seen = soft_round(y, torch.tensor(sharpness))
        assert (seen.diff() >= 0).all()
        whole = torch.arange(-4.0, 5.0)
        torch.testing.assert_close(soft_round(whole, torch.tensor(sharpness)), whole)
        torch.testing.assert_close(soft_round(-y, torch.tensor(sharpness)), -seen, atol=1e-5, rtol=0)


def test_no_weight_is_cut_off_from_its_gradient():
    """fp16 scales are rounded, so that half of all rows have their largest weight just beyond the grid's end."""
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rounding = Rounding(Quant(qat="soft", matrix_bits=5), torch.nn.Identity(), CPU)
    rounding.reach(0.85)
    rounding(weight).sum().backward()
    assert weight.grad.count_nonzero() == weight.numel()


def test_soft_rounding_has_its_own_slope():
    y = torch.linspace(-1.95, 1.95, 40, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: soft_round(y, torch.tensor(4.0, dtype=torch.float64)), y)


def test_it_is_off_until_its_start_and_sharpens_to_the_end():
    model, rounding = rounded_model(qat="soft")
    plain = drawn(model.config)
    plain.load_state_dict(model.state_dict())
    losses, sharpness = [], []
    for progress in (0.0, 0.49, 0.5, 0.75, 1.0):
        rounding.reach(progress)
        losses.append(model(TOKENS, TOKENS).item())
        sharpness.append(rounding.sharpness.item())
    assert losses[0] == losses[1] == plain(TOKENS, TOKENS).item()
    assert len({*losses[1:]}) == 4
    assert sharpness == pytest.approx([1.0, 1.0, 1.0, (1 + SHARPEST) / 2, SHARPEST])


@pytest.mark.parametrize("kind", ["ste", "soft"])
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_the_compiled_program_is_really_rounded(kind, backend):
    """The seeds' flag was folded into the compiled program and never came on (#315). Here it changes what is compiled,
    and the sharpness moves without compiling again."""
    model, rounding = rounded_model(qat=kind)
    torch._dynamo.reset()  # another test's programs count against the same limit
    compiled = torch.compile(model, dynamic=False, backend=backend, fullgraph=True)
    found = {}
    for progress in (0.0, 0.5, 1.0, 0.0, 1.0):
        rounding.reach(progress)
        loss = compiled(TOKENS, TOKENS)
        torch.testing.assert_close(loss, model(TOKENS, TOKENS), atol=1e-5, rtol=1e-5)
        assert found.setdefault(progress, loss.item()) == loss.item()
    assert abs(found[1.0] - found[0.0]) > 1e-4
    assert (found[1.0] == found[0.5]) == (kind == "ste")
    counted = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    rounding.reach(0.9)
    compiled(TOKENS, TOKENS)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == counted


def test_the_loss_that_is_trained_is_the_exports():
    """What hard rounding is for: the loss after export is the loss that was trained."""
    model, rounding = rounded_model()
    rounding.reach(1.0)
    trained = model(TOKENS, TOKENS).item()
    rounding.reach(0.0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.role in ("matrix", "projection"):
                weight.copy_(grids.dequantise(*grids.quantise(weight, 4)))
    assert model(TOKENS, TOKENS).item() == pytest.approx(trained, abs=1e-5)


def test_crown_q_is_the_gradient_of_its_penalty():
    weights = torch.randn(3, 6, 10, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    steps = weights.detach().abs().amax(dim=-1, keepdim=True) / 15
    penalty = 0.01 / 12 * sum((matrix**2 * step**2).mean() for matrix, step in zip(weights, steps, strict=True))
    penalty.backward()
    torch.testing.assert_close(crown_q_gradient(weights.detach(), 5, 0.01), weights.grad)

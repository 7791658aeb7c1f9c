"""GPTQ against a brute-force twin and against plain rounding, and what its wrong variants lose (techniques.md C4)."""

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from base.config import Quant  # noqa: E402
from base.quant import gptq, grids  # noqa: E402
from base.quant.calibration import Calibration  # noqa: E402
from base.quant.quantize import plan, quantize  # noqa: E402

SPECTRA = {"mild": 0.5, "strong": 1.0, "very strong": 2.0}  # exponents of the inputs' correlation
# The error of GPTQ and of its wrong variants over that of rounding, at int5 (techniques.md C4)
EXPECTED = {
    "correct": (0.81, 0.35, 0.009),
    "raw inverse, rising": (0.93, 0.77, 0.46),  # #850, #962
    "raw inverse, falling": (0.82, 0.43, 0.27),
}


def hessian(columns, strength, seed=0):
    """E[x x^T] of inputs with eigenvalues k^-strength in a random basis, and channels of uneven size."""
    random = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(columns, columns, generator=random, dtype=torch.float64))[0]
    values = torch.arange(1, columns + 1, dtype=torch.float64) ** -strength
    sizes = torch.exp(0.5 * torch.randn(columns, generator=random, dtype=torch.float64))
    found = sizes[:, None] * (basis * values @ basis.T) * sizes
    return found / found.diagonal().mean()


def weight_of(rows, columns, seed=1):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def scales_of(weight, bits):
    return grids.grid(weight, bits)[1]


def run(weight, scales, bits, h, damping=0.01, kept=None):
    largest = torch.full((1, 1, 1), float(grids.max_integer(bits)))
    factors = gptq.factorize(h[None], damping)
    kept = None if kept is None else kept[None]
    return gptq.round_with_feedback(weight[None], scales[None], largest, factors, kept)[0]


def cost(weight, integers, scales, h):
    error = (weight - integers * scales.float()[:, None]).double()
    return float(((error @ h) * error).sum())


def brute_force(weight, scales, bits, h, damping, kept=None):
    """Optimal brain surgery by its definition: after each column, the rest minimizes the error by a linear solve."""
    h = h.double().clone()
    largest, columns = grids.max_integer(bits), weight.size(1)
    order = h.diagonal().argsort(descending=True, stable=True)
    h += damping * h.diagonal().mean() * torch.eye(columns, dtype=torch.float64)
    w, steps = weight.double().clone(), scales.double()
    q = torch.zeros_like(w)
    for position, column in enumerate(order.tolist()):
        rest = order[position + 1 :]
        q[:, column] = (w[:, column] / steps).round().clamp(-largest, largest)
        if kept is not None:
            q[:, column] *= kept[:, column]
        error = w[:, column] - q[:, column] * steps
        if len(rest):
            # min over d of (e, d) H (e, d)^T with e fixed: d = -H_rr^-1 H_rc e, and w moves by -d
            move = torch.linalg.solve(h[rest][:, rest], h[rest, column])
            w[:, rest] += error[:, None] * move
    return q


@pytest.mark.parametrize("bits", [2, 4, 6])
@pytest.mark.parametrize("strength", SPECTRA.values())
def test_it_equals_the_brute_force_twin(bits, strength):
    for seed in range(3):
        h, weight = hessian(9, strength, seed), weight_of(5, 9, seed)
        scales = scales_of(weight, bits)
        kept = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) > 0.2
        for mask in (None, kept):
            expected = brute_force(weight, scales, bits, h, 0.01, mask)
            assert torch.equal(run(weight, scales, bits, h.float(), kept=mask).double(), expected)


def test_blocks_change_nothing(monkeypatch):
    h, weight = hessian(40, 1.0).float(), weight_of(6, 40)
    whole = run(weight, scales_of(weight, 4), 4, h)
    monkeypatch.setattr(gptq, "BLOCK", 7)
    assert torch.equal(run(weight, scales_of(weight, 4), 4, h), whole)


def wrong_variant(weight, scales, bits, h, descending):
    """Rows of the raw inverse, without elimination (#850, #962)."""
    largest = grids.max_integer(bits)
    h = h.double() + 0.01 * h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64)
    order = h.diagonal().argsort(descending=descending, stable=True)
    inverse = torch.linalg.inv(h[order][:, order])
    w, q = weight.double()[:, order].clone(), torch.zeros(weight.shape, dtype=torch.float64)
    for column in range(weight.size(1)):
        q[:, column] = (w[:, column] / scales.double()).round().clamp(-largest, largest)
        error = (w[:, column] - q[:, column] * scales.double()) / inverse[column, column]
        w[:, column:] -= error[:, None] * inverse[column, column:]
    back = torch.empty_like(q)
    back[:, order] = q
    return back.float()


def ratios(strength, bits=5):
    h, weight = hessian(512, strength), weight_of(128, 512)
    scales = scales_of(weight, bits)
    plain = cost(weight, grids.round_to_grid(weight, scales, grids.max_integer(bits)), scales, h)
    found = {"correct": run(weight, scales, bits, h.float())}
    for order in ("rising", "falling"):
        found[f"raw inverse, {order}"] = wrong_variant(weight, scales, bits, h, order == "falling")
    return {name: cost(weight, integers, scales, h) / plain for name, integers in found.items()}


def test_it_beats_rounding_by_the_known_factors_and_its_wrong_variants_do_not():
    found = {name: ratios(strength) for name, strength in SPECTRA.items()}
    for variant, expected in EXPECTED.items():
        assert [found[name][variant] for name in SPECTRA] == pytest.approx(expected, rel=0.25), (variant, found)
    for name in SPECTRA:
        assert found[name]["correct"] < found[name]["raw inverse, falling"] < found[name]["raw inverse, rising"]


def test_inputs_that_never_occurred_are_no_obstacle():
    h, weight = hessian(16, 1.0), weight_of(4, 16)
    h[3] = h[:, 3] = h[9] = h[:, 9] = 0.0
    integers = run(weight, scales_of(weight, 5), 5, h.float())
    assert integers.isfinite().all()
    assert integers.abs().max() <= 15


def test_pruned_weights_stay_zero_and_the_others_make_up_for_them():
    h, weight = hessian(64, 2.0), weight_of(16, 64)
    matrices = plan({"w": weight}, {"w": "matrix"}, Calibration({"w": h.float()}), Quant(matrix_bits=5))
    quant = Quant(matrix_bits=5, prune_share=0.2, rounding="gptq")
    (found,) = quantize(matrices, quant, print)
    pruned = weight.abs() <= weight.abs().flatten().kthvalue(int(0.2 * weight.numel())).values
    assert not found.integers[pruned].any()
    (rounded,) = quantize(matrices, Quant(matrix_bits=5, prune_share=0.2), print)
    assert found.loss < 0.5 * rounded.loss


@pytest.mark.parametrize("search", ["none", "percentile", "hessian"])
@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
def test_a_searched_clip_is_never_worse_by_its_own_measure(rounding, search):
    h, weight = hessian(64, 1.0), weight_of(16, 64)
    weight[:, 5] *= 6.0  # an outlier in every row
    calibration = Calibration({"w": h.float()})
    plain, searched = (
        quantize(plan({"w": weight}, {"w": "matrix"}, calibration, quant), quant, print)[0]
        for quant in (Quant(matrix_bits=4, rounding=rounding, clip_search=which) for which in ("none", search))
    )
    if search == "hessian":
        assert (searched.by_row <= plain.by_row * (1 + 1e-5)).all()
        assert searched.loss < 0.9 * plain.loss
    if search == "none":
        assert torch.equal(searched.integers, plain.integers)

"""Quantize a model's matrices: choose bits and scales, round with or without feedback, and correct what is left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from base.config import Quant
from base.quant import clipping, gptq, grids, low_rank, rotation
from base.quant.allocation import Option, allocate
from base.quant.calibration import Calibration

GATE_BITS = 8
ALLOCATED_BITS = (3, 4, 5, 6, 7, 8)
QUANTIZED_ROLES = ("matrix", "projection", "table", "gate")  # whose parameters get integers
PRUNED_ROLES = ("matrix", "projection")


@dataclass(frozen=True)
class Matrix:
    """A matrix to quantize; its Hessian and Fisher information are None where nothing was observed."""

    name: str
    weight: Tensor  # (R, K) fp32, rotated if `seed` is set
    bits: int
    clip_sigmas: float
    hessian: Tensor | None = None
    fisher: Tensor | None = None
    seed: int | None = None
    role: str = "matrix"

    def loss(self, by_row: Tensor) -> float:
        """The expected rise of the loss per token, in nats, for e H e^T of each row."""
        fisher = self.fisher if self.fisher is not None else torch.ones_like(by_row)
        return 0.5 * float((fisher * by_row).double().sum())


@dataclass(frozen=True)
class Quantized:
    """A matrix as integers (R, K) int8 and scales (R,) fp16, with e H e^T of each row."""

    matrix: Matrix
    integers: Tensor
    scales: Tensor
    by_row: Tensor

    @property
    def loss(self) -> float:
        return self.matrix.loss(self.by_row)

    @property
    def relative_error(self) -> float:
        """The squared error of the matrix's outputs, over their squares."""
        whole = gptq.row_objective(self.matrix.weight[None], hessians_of([self.matrix])).sum()
        return float(self.by_row.double().sum() / whole.double().clamp_min(1e-30))

    @property
    def entropy_bytes(self) -> float:
        """The bytes of the integers by their own frequencies: what any coder without context needs."""
        counts = torch.bincount(self.integers.flatten().to(torch.int64) + 128, minlength=256).double()
        return float(-torch.xlogy(counts, counts / counts.sum()).sum() / torch.log(counts.new_tensor(2.0)) / 8)

    def restored(self) -> Tensor:
        """The weights (R, K) that the integers stand for, rotated back."""
        weight = grids.dequantize(self.integers, self.scales)
        return weight if self.matrix.seed is None else rotation.restore(weight, self.matrix.seed)

    def correction(self, original: Tensor, rank: int) -> dict[str, Tensor]:
        """The parts of LQER for the original weights (R, K)."""
        importance = self.matrix.hessian.diagonal() if self.matrix.hessian is not None else None
        importance = importance if self.matrix.seed is None else None
        return low_rank.approximate(original - self.restored(), rank, importance)


def plan(parameters: dict[str, Tensor], roles: dict[str, str], calibration: Calibration, quant: Quant) -> list[Matrix]:
    """Return the matrices among a model's parameters, with their bits and clips; everything else stays a float."""
    return [
        _planned(name, weight, roles[name], calibration, quant)
        for name, weight in parameters.items()
        if roles[name] in QUANTIZED_ROLES
    ]


def _planned(name: str, weight: Tensor, role: str, calibration: Calibration, quant: Quant) -> Matrix:
    if role == "gate":
        return Matrix(name, weight.detach().float(), GATE_BITS, 0.0, role=role)
    is_table = role == "table"
    bits, clip = bits_of(name, is_table, quant), quant.embed_clip_sigmas if is_table else quant.matrix_clip_sigmas
    hessian, fisher = calibration.hessians.get(name), calibration.fisher.get(name)
    if is_table and not quant.gptq_embedding:
        hessian = None
    matrix = Matrix(name, weight.detach().float(), bits, clip, hessian, fisher, role=role)
    if quant.rotation == "none" or is_table:
        return matrix
    seed = rotation.best_seed(matrix.weight, quant.rotation)
    rotated = None if hessian is None else rotation.rotate_hessian(hessian, seed)
    return replace(matrix, weight=rotation.rotate(matrix.weight, seed), hessian=rotated, seed=seed)


def bits_of(name: str, is_table: bool, quant: Quant) -> int:
    """The bits of a matrix: of the first part of its name that `bits_by_name` lists, else of its role."""
    for entry in filter(None, quant.bits_by_name.split(",")):
        part, _, bits = entry.partition(":")
        if not bits.isdigit():
            raise ValueError(f"bits_by_name expects NAME:BITS,..., got {entry!r}")
        if part.strip() in name:
            return int(bits)
    return quant.embed_bits if is_table else quant.matrix_bits


def check_knobs(quant: Quant) -> None:
    """Raise ValueError for knobs that do not fit together, before anything is trained for them."""
    bits_of("", False, quant)
    if quant.fill_bytes and quant.clip_search == "percentile":
        raise ValueError("fill_bytes scales clips in standard deviations, clip_search=percentile takes others")
    if quant.fill_bytes and not (quant.matrix_clip_sigmas or quant.embed_clip_sigmas):
        raise ValueError("fill_bytes scales clips in standard deviations: set matrix_clip_sigmas or embed_clip_sigmas")
    if quant.lqer_matrices and quant.calibration == "none":
        raise ValueError("lqer_matrices go by expected loss, which calibration measures: got calibration=none")


def quantize(matrices: Sequence[Matrix], quant: Quant, log: Callable[[str], None]) -> list[Quantized]:
    """Quantize all matrices; with `bit_allocation` their bits are chosen under the bytes that they would take."""
    if not quant.bit_allocation:
        return quantize_all(matrices, quant)
    chosen = [index for index, matrix in enumerate(matrices) if matrix.hessian is not None]
    usual = quantize_all(matrices, quant)
    free = [matrices[index] for index in chosen]
    by_bits = [quantize_all([replace(matrix, bits=bits) for matrix in free], quant) for bits in ALLOCATED_BITS]
    options = [
        [Option(each.loss, round(each.entropy_bytes)) for each in choices] for choices in zip(*by_bits, strict=True)
    ]
    cap = sum(round(usual[index].entropy_bytes) for index in chosen)
    for position, option in enumerate(allocate(options, cap)):
        usual[chosen[position]] = by_bits[option][position]
    counts = {bits: sum(usual[index].matrix.bits == bits for index in chosen) for bits in ALLOCATED_BITS}
    log("bit allocation: " + ", ".join(f"{count} of {bits} bits" for bits, count in counts.items() if count))
    return usual


def quantize_all(matrices: Sequence[Matrix], quant: Quant) -> list[Quantized]:
    """Quantize at the matrices' own bits; those of one shape are one batch, which keeps a GPU busy."""
    groups: dict[tuple, list[int]] = {}
    for index, matrix in enumerate(matrices):
        key = (*matrix.weight.shape, matrix.hessian is None, matrix.role in PRUNED_ROLES)
        groups.setdefault(key, []).append(index)
    found: dict[int, Quantized] = {}
    for indices in groups.values():
        group = [matrices[index] for index in indices]
        found |= zip(indices, quantize_group(group, quant), strict=True)
    return [found[index] for index in range(len(matrices))]


def quantize_group(group: Sequence[Matrix], quant: Quant) -> list[Quantized]:
    """Quantize matrices of one shape; each row takes the scale of its smallest e H e^T."""
    weights, hessians = torch.stack([matrix.weight for matrix in group]), hessians_of(group)
    largest = weights.new_tensor([float(grids.max_integer(matrix.bits)) for matrix in group])[:, None, None]
    sigmas = weights.new_tensor([matrix.clip_sigmas for matrix in group])
    diagonals = None if hessians is None else hessians.diagonal(dim1=-2, dim2=-1)
    kept = pruning_mask(weights, quant.prune_share) if group[0].role in PRUNED_ROLES else None
    feedback = quant.rounding == "gptq" and hessians is not None
    if feedback and diagonals is not None:  # what never had an input has no effect: zeros cost nothing
        kept = (diagonals > 0)[:, None, :].expand_as(weights) & (True if kept is None else kept)
    factors = gptq.factorize(hessians, quant.gptq_damping) if feedback else None
    searched = None if quant.clip_search == "percentile" else hessians  # #414 compares weights, not outputs
    best: tuple[Tensor, Tensor, Tensor] | None = None
    for scales in clipping.candidates(weights, largest, sigmas, quant, diagonals):
        if factors is not None:
            integers = gptq.round_with_feedback(weights, scales, largest, factors, kept)
        else:
            integers = grids.round_to_grid(weights, scales, largest)
            integers = integers if kept is None else integers * kept
        cost = gptq.row_objective(weights - grids.dequantize(integers, scales), searched)
        if best is None:
            best = integers, scales, cost
        else:
            better = cost < best[2]
            best = (
                torch.where(better[..., None], integers, best[0]),
                torch.where(better, scales, best[1]),
                torch.where(better, cost, best[2]),
            )
    assert best is not None
    integers, scales, _ = best
    by_row = gptq.row_objective(weights - grids.dequantize(integers, scales), hessians)
    return [
        Quantized(matrix, *parts) for matrix, *parts in zip(group, integers.to(torch.int8), scales, by_row, strict=True)
    ]


def hessians_of(group: Sequence[Matrix]) -> Tensor | None:
    if group[0].hessian is None:
        return None
    return torch.stack([matrix.hessian for matrix in group if matrix.hessian is not None])


def pruning_mask(weights: Tensor, share: float) -> Tensor | None:
    """False for the smallest share of the weights (B, R, K) of each matrix; None to prune nothing."""
    if not share:
        return None
    sizes = weights.abs().flatten(1)
    threshold = sizes.sort(dim=1).values[:, max(int(share * sizes.size(1)), 1) - 1]  # kthvalue has no repeatable kernel
    return weights.abs() > threshold[:, None, None]

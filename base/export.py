"""Export: a trained model to checkpoint.bin and weights.bin, and an artifact back to a model."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor

from base.compress import artifact, container
from base.compress.errors import FormatError
from base.compress.streams import INTEGERS, SCALES
from base.config import ARCHITECTURE, Config, Data, Eval
from base.model.gpt import GPT
from base.model.layers import initialize
from base.quant import fill, low_rank, rotation
from base.quant.calibration import Calibration
from base.quant.grids import dequantize
from base.quant.quantize import QUANTIZED_ROLES, Quantized, check_knobs, plan
from base.runtime import Runtime, generator

TRAINING_ONLY = "ahead."  # heads that only shape the training loss
CORRECTION = ("left", "left_scale", "right", "right_scale")
HESSIAN, SAME, FISHER = ":hessian", ":same", ":fisher"
PROBE = (2, 64)  # rows and tokens of the made-up text on which the artifact's error is stated

Log = Callable[[str], None]


def checkpoint_bytes(config: Config, model: GPT, calibration: Calibration) -> bytes:
    """Return weights and calibration, from which `weights_bytes` can be repeated with other knobs.

    Hessians are symmetric, so their lower triangles are stored, and once for matrices that share their inputs.
    """
    arrays = {name: weight.numpy() for name, weight in exported(model).items()}
    known: dict[bytes, str] = {}
    same = {}
    for name, hessian in calibration.hessians.items():
        rows, columns = np.tril_indices(len(hessian))
        triangle = hessian.cpu().numpy()[rows, columns]
        first = known.setdefault(triangle.tobytes(), name)
        if first == name:
            arrays[name + HESSIAN] = triangle
        else:
            same[name] = first
    arrays |= {name + FISHER: fisher.cpu().numpy() for name, fisher in calibration.fisher.items()}
    return container.dump({**architecture_meta(config), "same": same}, arrays)


def load_checkpoint(blob: bytes, config: Config, runtime: Runtime) -> tuple[Config, GPT, Calibration]:
    """The inverse of `checkpoint_bytes`, with all knobs but the architecture's from `config`; raises FormatError."""
    meta, arrays = container.load(blob)
    config = replace(with_architecture(meta, config), **planned(meta, config.eval))
    tensors = {name: torch.from_numpy(array.copy()).to(runtime.device) for name, array in arrays.items()}
    calibration = Calibration()
    for name, tensor in tensors.items():
        if name.endswith(HESSIAN):
            side = int((8 * len(tensor) + 1) ** 0.5) // 2
            full = tensor.new_zeros(side, side)
            rows, columns = torch.tril_indices(side, side, device=runtime.device)
            full[rows, columns] = full[columns, rows] = tensor
            calibration.hessians[name.removesuffix(HESSIAN)] = full
        elif name.endswith(FISHER):
            calibration.fisher[name.removesuffix(FISHER)] = tensor
    calibration.hessians |= {name: calibration.hessians[first] for name, first in meta["same"].items()}
    model = GPT(config, runtime.dtype)
    model.load_state_dict({name: tensor for name, tensor in tensors.items() if ":" not in name})
    return config, model.to(runtime.device), calibration


def untrained_weights(config: Config, code_bytes: int) -> bytes:
    """weights.bin of the untrained model, whose every matrix is filled."""
    model = GPT(config)
    initialize(model, config.run.seed)
    draw_constants(model, config.run.seed)
    quant = replace(config.quant, calibration="none", bit_allocation=False, lqer_matrices=0)
    return weights_bytes(replace(config, quant=quant), model, Calibration(), code_bytes)


@torch.no_grad()
def draw_constants(model: GPT, seed: int) -> None:
    """Draw matrices that start at a constant: training will fill them, and a constant codes to nothing."""
    for name, weight in model.named_parameters():
        if weight.role in QUANTIZED_ROLES and float(weight.min()) == float(weight.max()):
            weight.normal_(0.0, 0.02, generator=generator(seed, f"size of {name}"))


def exported(model: GPT) -> dict[str, Tensor]:
    """The parameters that an artifact holds, as fp32 on the CPU."""
    named = ((name, weight.detach().float().cpu()) for name, weight in model.named_parameters())
    return {name: weight for name, weight in named if not name.startswith(TRAINING_ONLY)}


def architecture_meta(config: Config) -> dict:
    # Positions may be scaled by the longest context planned at training; another eval_length must not change them.
    longest = max(config.data.sequence_length, config.eval.eval_length)
    sections = {section: asdict(config.sections[section]) for section in ARCHITECTURE}
    sections["model"]["mtp_heads"] = 0  # not exported
    return {**sections, "planned_length": longest}


def planned(meta: dict, evaluation: Eval) -> dict:
    """The sections that make the planned length that of a file; raises FormatError."""
    length = meta.get("planned_length")
    if not isinstance(length, int) or not 0 < length < 1 << 24:
        raise FormatError(f"expected a planned length, got {str(length)[:40]}")
    return {"data": Data(sequence_length=length), "eval": replace(evaluation, eval_length=length)}


def with_architecture(meta: dict, config: Config) -> Config:
    """Return the configuration with the architecture of a file; raises FormatError."""
    try:
        sections = {section: replace(Config().sections[section], **meta[section]) for section in ARCHITECTURE}
    except (KeyError, TypeError) as error:
        raise FormatError(f"expected the knobs of this program's architecture, got {error}") from None
    sections["model"] = replace(sections["model"], mtp_heads=0)
    return replace(config, **sections)


def weights_bytes(
    config: Config, model: GPT, calibration: Calibration, code_bytes: int = 0, log: Log = lambda _: None
) -> bytes:
    """Return the quantized model before entropy coding: integers and row scales, and other parameters as floats.

    The header states what was done: of each matrix its bits and the relative error of its outputs, and the largest
    difference between logits of the model as trained and as quantized, on a probe of made-up tokens (before packing:
    what it prunes to fit adds to that).
    """
    started = time.perf_counter()
    check_knobs(config.quant)
    device = model.embedding.device
    parameters = {name: weight.to(device) for name, weight in exported(model).items()}
    roles = {name: weight.role for name, weight in model.named_parameters() if name in parameters}
    matrices = plan(parameters, roles, calibration, config.quant)
    floats = {name: weight for name, weight in parameters.items() if name not in {each.name for each in matrices}}
    dtype = torch.float16 if config.quant.scalar_bits == 16 else torch.float32
    other = {name: weight.to(dtype).cpu().numpy() for name, weight in floats.items()}
    target = config.quant.fill_bytes - code_bytes if config.quant.fill_bytes else 0
    meta = architecture_meta(config)
    quantized = fill.quantize_to(matrices, config, lambda found: arrays_of(found, other), meta, target, log)
    arrays = arrays_of(quantized, other)
    known = [each for each in quantized if each.matrix.fisher is not None]  # else its loss is in no unit
    corrected = sorted(known, key=lambda each: -each.loss)[: config.quant.lqer_matrices]
    for each in corrected:
        parts = each.correction(parameters[each.matrix.name], config.quant.lqer_rank)
        arrays |= {f"{each.matrix.name}:{part}": tensor.cpu().numpy() for part, tensor in parts.items()}
    meta["matrices"] = {each.matrix.name: [each.matrix.bits, float(f"{each.relative_error:.3g}")] for each in quantized}
    meta["rotated"] = {each.matrix.name: each.matrix.seed for each in quantized if each.matrix.seed is not None}
    meta["logit_error"] = logit_error(config, model, meta, arrays)
    log(f"quantized {len(quantized)} matrices in {time.perf_counter() - started:.2f}s")
    return container.dump(meta, arrays)


def arrays_of(quantized: list[Quantized], other: container.Arrays) -> container.Arrays:
    """The arrays of weights.bin: integers and scales of each matrix, and the other parameters."""
    integers = {each.matrix.name + INTEGERS: each.integers.cpu().numpy() for each in quantized}
    scales = {each.matrix.name + SCALES: each.scales.cpu().numpy() for each in quantized}
    return {**integers, **scales, **other}


def probe(vocab_size: int) -> Tensor:
    """Made-up tokens (B, T) that anybody can draw again."""
    return torch.randint(vocab_size, PROBE, generator=generator(0, "probe"))


@torch.inference_mode()
def logit_error(config: Config, model: GPT, meta: dict, arrays: container.Arrays) -> float:
    """The largest difference between logits on the probe, rounded up to three digits."""
    tokens = probe(config.model.vocab_size).to(model.embedding.device)
    restored = build_model(config, meta, arrays, model.dtype, tokens.device)
    difference = model.logits(model.hidden(tokens)) - restored.logits(restored.hidden(tokens))
    return float(f"{1.005 * float(difference.abs().max()):.3g}")


def load_model(blob: bytes, evaluation: Eval, dtype: torch.dtype, device: torch.device) -> tuple[Config, GPT]:
    """Return an artifact's model, ready to score: architecture knobs from it, evaluation knobs from the caller."""
    meta, arrays = artifact.unpack(blob)
    config = with_architecture(meta, Config(eval=evaluation))
    config = replace(config, data=planned(meta, evaluation)["data"])
    if evaluation.eval_documents:
        config = replace(config, attention=replace(config.attention, document_attention=True))
    return config, build_model(config, meta, arrays, dtype, device)


def build_model(config: Config, meta: dict, arrays: container.Arrays, dtype: torch.dtype, device: torch.device) -> GPT:
    """Return the model of unpacked arrays; raises FormatError if they are not its parameters."""
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    state = {name: tensor.float() for name, tensor in tensors.items() if ":" not in name}
    try:
        for name in [name.removesuffix(INTEGERS) for name in tensors if name.endswith(INTEGERS)]:
            weight = dequantize(tensors[name + INTEGERS], tensors[name + SCALES])
            if name in meta["rotated"]:
                weight = rotation.restore(weight, meta["rotated"][name])
            if f"{name}:left" in tensors:
                weight = weight + low_rank.correction({part: tensors[f"{name}:{part}"] for part in CORRECTION})
            state[name] = weight
        # Parameters are not initialized, so a model of any size takes no memory before the file's are copied into it
        model = GPT(replace(config, model=replace(config.model, mtp_heads=0)), dtype)
        model.load_state_dict(state)
    except (ArithmeticError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise FormatError(f"the arrays are not this model's parameters: {str(error)[:200]}") from None
    model.set_progress(1.0)
    return model.to(device).eval()

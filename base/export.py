"""Export: a trained model to quantized weights in a container, and an artifact back to a model."""

from dataclasses import asdict, replace

import torch

from base.compress import codec, container
from base.config import ARCHITECTURE, Config, Data, Eval
from base.model.gpt import GPT
from base.quant.grids import dequantize, quantize

GATE_BITS = 8
INTEGERS, SCALES = ":q", ":scale"  # suffixes; parameter names contain no colon
TRAINING_ONLY = "ahead."  # heads that only shape the training loss


def weights_bytes(config: Config, model: GPT) -> bytes:
    """Return the quantized model before entropy coding: integers and row scales, and scalars in fp32."""
    quant = config.quant
    bits = {"matrix": quant.matrix_bits, "table": quant.embed_bits, "gate": GATE_BITS}
    clip = {"matrix": quant.matrix_clip_sigmas, "table": quant.embed_clip_sigmas, "gate": 0.0}
    arrays = {}
    for name, parameter in model.named_parameters():
        weight = parameter.detach().float().cpu()
        role = "matrix" if parameter.role == "projection" else parameter.role
        if name.startswith(TRAINING_ONLY):
            continue
        if role in bits:
            integers, scales = quantize(weight, bits[role], clip[role])
            arrays[name + INTEGERS], arrays[name + SCALES] = integers.numpy(), scales.numpy()
        else:
            arrays[name] = weight.numpy()
    architecture = {section: asdict(config.sections[section]) for section in ARCHITECTURE}
    # Positions may be scaled by the longest context planned at training; another eval_length must not change them.
    planned = max(config.data.sequence_length, config.eval.eval_length)
    return container.dump({**architecture, "planned_length": planned}, arrays)


def load_model(artifact: bytes, evaluation: Eval, dtype: torch.dtype, device: torch.device) -> tuple[Config, GPT]:
    """Return an artifact's model, ready to score: architecture knobs from it, evaluation knobs from the caller."""
    meta, arrays = container.load(codec.decompress(artifact))
    architecture = {section: replace(Config().sections[section], **meta[section]) for section in ARCHITECTURE}
    config = Config(**architecture, data=Data(sequence_length=meta["planned_length"]), eval=evaluation)
    config = replace(config, model=replace(config.model, mtp_heads=0))
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    state = {}
    for name, tensor in tensors.items():
        if name.endswith(INTEGERS):
            parameter = name.removesuffix(INTEGERS)
            state[parameter] = dequantize(tensor, tensors[parameter + SCALES])
        elif not name.endswith(SCALES):
            state[name] = tensor
    model = GPT(config, dtype)
    model.load_state_dict(state)
    return config, model.to(device).eval()

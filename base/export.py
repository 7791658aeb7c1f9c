"""A trained model to integers in a container, and a model back from an artifact."""

from dataclasses import asdict, replace

import torch

from base.compress import codec, container
from base.config import ARCHITECTURE, Config, Data, Eval
from base.model.gpt import GPT
from base.quant import grids

GATE_BITS = 8
INTEGERS, SCALES = ":q", ":scale"  # a colon is in no parameter's name
TRAINING_ONLY = "ahead."  # heads that only shape the training loss


def weights_bytes(config: Config, model: GPT) -> bytes:
    """The quantised model, not yet entropy-coded: integers and row scales, except scalars, which stay fp32."""
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
            integers, scales = grids.quantise(weight, bits[role], clip[role])
            arrays[name + INTEGERS], arrays[name + SCALES] = integers.numpy(), scales.numpy()
        else:
            arrays[name] = weight.numpy()
    shape = {section: asdict(config.sections[section]) for section in ARCHITECTURE}
    # Positions may be scaled by the longest context that was planned for; another eval_length must not change that.
    planned = max(config.data.sequence_length, config.eval.eval_length)
    return container.dump({**shape, "planned_length": planned}, arrays)


def load_model(artifact: bytes, evaluation: Eval, dtype: torch.dtype, device: torch.device) -> tuple[Config, GPT]:
    """The model of an artifact, ready to score: shape from the artifact, evaluation knobs from the caller."""
    meta, arrays = container.load(codec.decompress(artifact))
    shape = {section: replace(Config().sections[section], **meta[section]) for section in ARCHITECTURE}
    config = Config(**shape, data=Data(sequence_length=meta["planned_length"]), eval=evaluation)
    config = replace(config, model=replace(config.model, mtp_heads=0))
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    state = {}
    for name, tensor in tensors.items():
        if name.endswith(INTEGERS):
            plain = name.removesuffix(INTEGERS)
            state[plain] = grids.dequantise(tensor, tensors[plain + SCALES])
        elif not name.endswith(SCALES):
            state[name] = tensor
    model = GPT(config, dtype)
    model.load_state_dict(state)
    return config, model.to(device).eval()

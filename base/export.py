"""A trained model to integers in a container, and a model back from an artifact."""

from dataclasses import asdict

import torch

from base.compress import codec, container
from base.config import Config, Data, Eval, Model
from base.model.gpt import GPT
from base.quant import grids


def weights_bytes(config: Config, model: GPT) -> bytes:
    """The quantised model, not yet entropy-coded: matrices as integers and row scales, vectors as fp32."""
    arrays = {}
    for name, weight in model.state_dict().items():
        weight = weight.detach().float().cpu()
        if weight.ndim == 2:
            bits = config.quant.embed_bits if name == "embedding" else config.quant.matrix_bits
            integers, scales = grids.quantise(weight, bits)
            arrays[f"{name}.q"], arrays[f"{name}.scale"] = integers.numpy(), scales.numpy()
        else:
            arrays[name] = weight.numpy()
    return container.dump({"model": asdict(config.model), "sequence_length": config.data.sequence_length}, arrays)


def load_model(artifact: bytes, evaluation: Eval, dtype: torch.dtype, device: torch.device) -> tuple[Config, GPT]:
    """The model of an artifact, ready to score: shape from the artifact, evaluation knobs from the caller."""
    meta, arrays = container.load(codec.decompress(artifact))
    data = Data(sequence_length=meta["sequence_length"])
    config = Config(model=Model(**meta["model"]), data=data, eval=evaluation)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    state = {
        name.removesuffix(".q"): grids.dequantise(tensor, tensors[name.removesuffix(".q") + ".scale"])
        if name.endswith(".q")
        else tensor
        for name, tensor in tensors.items()
        if not name.endswith(".scale")
    }
    model = GPT(config, dtype)
    model.load_state_dict(state)
    return config, model.to(device).eval()

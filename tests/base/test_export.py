"""From weights to bytes and back: grids, container, codec, artifact."""

import os
import pickle

import numpy as np
import pytest

from base.compress import artifact, codecs, container
from base.compress.errors import FormatError


def test_a_container_round_trips_and_is_repeatable():
    arrays = {
        "b": np.arange(6, dtype=np.int8).reshape(2, 3),
        "a": np.array(1.5, dtype=np.float32),
        "c": np.zeros((0, 4), dtype=np.float16),
    }
    blob = container.dump({"x": [1, "y"]}, arrays)
    meta, loaded = container.load(blob)
    assert meta == {"x": [1, "y"]}
    assert all(
        np.array_equal(loaded[name], array) and loaded[name].dtype == array.dtype for name, array in arrays.items()
    )
    assert blob == container.dump({"x": [1, "y"]}, dict(reversed(arrays.items())))


@pytest.mark.parametrize("harm", [lambda blob: blob[:-1], lambda blob: blob + b"x", lambda blob: b"PK" + blob])
def test_a_damaged_container_is_refused(harm):
    with pytest.raises(ValueError, match="expected|buffer"):
        container.load(harm(container.dump({}, {"a": np.ones(8, dtype=np.float32)})))


def test_loading_runs_no_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    for blob in (pickle.dumps(Bomb()), codecs.compress("brotli", pickle.dumps(Bomb()))):
        for load in (container.load, artifact.unpack):
            with pytest.raises(FormatError):
                load(blob)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("codec", ["brotli", "zstd", "lzma", "raw"])
def test_a_codec_round_trips_and_stops_where_it_should(codec):
    data = np.random.default_rng(0).integers(0, 9, 10_000).astype(np.uint8).tobytes()
    blob = codecs.compress(codec, data)
    assert codecs.decompress(codec, blob, len(data)) == data
    for size in (len(data) - 1, len(data) + 1, 0):
        with pytest.raises(FormatError, match="bytes|expected"):
            codecs.decompress(codec, blob, size)
    if codec != "raw":
        with pytest.raises(FormatError):
            codecs.decompress(codec, blob[: len(blob) // 2], len(data))


@pytest.mark.torch
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_a_grid_rounds_to_the_nearest_step(bits):
    torch = pytest.importorskip("torch")
    from base.quant import grids

    weight = torch.randn(16, 64) * torch.logspace(-2, 1, 16)[:, None]
    integers, scales = grids.quantize(weight, bits)
    assert integers.abs().max() <= 2 ** (bits - 1) - 1
    error = (grids.dequantize(integers, scales) - weight).abs()
    # half a step, and the top value may clip by what fp16 rounded off the scale
    assert (error <= scales.float()[:, None] * (0.5 + 2 ** (bits - 1) * 2**-10)).all()


@pytest.mark.torch
def test_an_artifact_gives_back_the_model():
    torch = pytest.importorskip("torch")
    from base.config import Eval
    from base.export import load_model, weights_bytes
    from base.model.gpt import GPT
    from base.model.layers import initialize
    from base.presets import pocket
    from base.quant.calibration import Calibration

    model = GPT(pocket())
    initialize(model, 1)
    blob = artifact.pack(weights_bytes(pocket(), model, Calibration()))
    config, loaded = load_model(blob, Eval(eval_length=128, eval_stride=64), torch.float32, torch.device("cpu"))
    assert config.model == pocket().model
    for (name, weight), restored in zip(model.named_parameters(), loaded.parameters(), strict=True):
        step = weight.abs().amax() / 127
        assert (weight - restored).abs().max() <= step, name
    again = artifact.pack(weights_bytes(pocket(), loaded, Calibration()))
    twice, _ = load_model(again, Eval(eval_length=128, eval_stride=64), torch.float32, torch.device("cpu"))
    assert twice.model == config.model


@pytest.mark.torch
@pytest.mark.parametrize("scaling", ["none", "ntk", "yarn"])
def test_a_shorter_evaluation_scores_the_network_that_was_trained(scaling):
    """Rotary positions may be scaled by the longest context planned; eval_length is a knob of scoring alone."""
    torch = pytest.importorskip("torch")
    from dataclasses import replace

    from helpers.base.models import SMALL, perturbed_model

    from base.export import load_model, weights_bytes
    from base.quant.calibration import Calibration

    attention = replace(SMALL.attention, rope_scaling=scaling, rope_train_length=16)
    config = replace(SMALL, attention=attention, eval=replace(SMALL.eval, eval_length=128))
    packed = artifact.pack(weights_bytes(config, perturbed_model(config), Calibration()), ("zstd",))
    tokens = torch.arange(40).view(2, 20) % 97
    hidden = [
        load_model(packed, replace(config.eval, eval_length=length), torch.float32, torch.device("cpu"))[1].hidden(
            tokens
        )
        for length in (128, 64)
    ]
    assert torch.equal(*hidden)

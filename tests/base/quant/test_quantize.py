"""Every technique of quantization through checkpoint, weights and artifact: its effect and its stated error."""

from dataclasses import replace
from functools import cache

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import perturbed_model, small_config  # noqa: E402

from base.compress import artifact, container  # noqa: E402
from base.compress.errors import FormatError  # noqa: E402
from base.compress.pruning import pack_within  # noqa: E402
from base.compress.streams import CODECS, INTEGERS  # noqa: E402
from base.config import Quant  # noqa: E402
from base.export import checkpoint_bytes, load_checkpoint, load_model, probe, weights_bytes  # noqa: E402
from base.model.layers import Linear  # noqa: E402
from base.overrides import override  # noqa: E402
from base.quant import grids, low_rank, rotation  # noqa: E402
from base.quant.calibration import calibrate  # noqa: E402
from base.runtime import Runtime  # noqa: E402
from base.techniques import EXPORT  # noqa: E402

CPU = Runtime(0, 1, torch.device("cpu"), torch.float32)
CONFIG = small_config(embed={"bigram_buckets": 64, "bigram_dim": 16}, attention={"attention_gate": "dense"})


def batches(config, seed=0):
    random = torch.Generator().manual_seed(seed)
    while True:
        rows = torch.randint(config.model.vocab_size, (4, config.data.sequence_length + 1), generator=random)
        yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


@cache
def trained():
    """A model with noise on every parameter, and its calibration."""
    model = perturbed_model(CONFIG)
    return model, calibrate(CONFIG, CPU, model, batches(CONFIG))


def with_knobs(knobs):
    return override(CONFIG, {name: str(value) for name, value in knobs.items()})


def weights_of(knobs):
    config = with_knobs(knobs)
    model, calibration = trained()
    if config.quant.calibration == "generated":
        calibration = calibrate(config, CPU, model, batches(config))
    return weights_bytes(config, model, calibration)


@pytest.mark.parametrize("name", EXPORT)
def test_logits_are_within_the_error_that_the_header_states(name):
    packed = artifact.pack(weights_of(EXPORT[name]), ("mix", "zstd"))
    meta, _ = artifact.unpack(packed)
    model, _ = trained()
    _, restored = load_model(packed, CONFIG.eval, torch.float32, CPU.device)
    tokens = probe(CONFIG.model.vocab_size)
    with torch.no_grad():
        difference = model.logits(model.hidden(tokens)) - restored.logits(restored.hidden(tokens))
    assert 0 < float(difference.abs().max()) <= meta["logit_error"] <= 1.02 * float(difference.abs().max()) + 1e-6


@pytest.mark.parametrize("name", sorted(EXPORT.keys() - {"generated_text"}))
def test_every_technique_changes_the_weights_and_repeats_itself(name):
    plain = {knob: value for knob, value in EXPORT[name].items() if knob in ("matrix_bits", "rounding")}
    plain = plain if plain != EXPORT[name] else {"matrix_bits": 7}
    assert weights_of(EXPORT[name]) == weights_of(EXPORT[name])
    before, after = (container.load(weights_of(knobs))[1] for knobs in (plain, EXPORT[name]))
    assert before.keys() != after.keys() or any((before[key] != after[key]).any() for key in before)


def expected_loss(knobs):
    """The sum of what the header states, over the matrices that calibration saw."""
    meta, _ = container.load(weights_of(knobs))
    _, calibration = trained()
    return sum(error for matrix, (_, error) in meta["matrices"].items() if matrix in calibration.hessians)


@pytest.mark.parametrize("bits", [3, 4, 5, 6])
def test_each_step_of_the_stack_lowers_the_outputs_error(bits):
    base = {"matrix_bits": bits, "embed_bits": bits}
    rounded = expected_loss(base)
    searched = expected_loss({**base, "clip_search": "hessian"})
    feedback = expected_loss({**base, "rounding": "gptq"})
    both = expected_loss({**base, "rounding": "gptq", "clip_search": "hessian"})
    assert feedback < 0.95 * rounded
    assert searched <= rounded
    assert both <= feedback


def test_a_checkpoint_quantizes_as_the_model_does():
    model, calibration = trained()
    blob = checkpoint_bytes(CONFIG, model, calibration)
    for knobs in ({}, EXPORT["gptq"], EXPORT["bit_allocation"], EXPORT["lqer"]):
        config, loaded, known = load_checkpoint(blob, with_knobs(knobs), CPU)
        assert weights_bytes(config, loaded, known) == weights_of(knobs)


@pytest.mark.parametrize("harm", [lambda blob: blob[:-1], lambda blob: b"x" + blob, lambda blob: blob[:30]])
def test_a_damaged_checkpoint_is_an_error(harm):
    model, calibration = trained()
    with pytest.raises(FormatError):
        load_checkpoint(harm(checkpoint_bytes(CONFIG, model, calibration)), CONFIG, CPU)


def test_an_artifact_of_another_model_is_an_error():
    meta, arrays = container.load(weights_of({}))
    name = next(name for name in arrays if name.endswith(INTEGERS))
    for change in ({}, {name: arrays[name][:-1]}, {"other": arrays[name]}):
        kept = {key: array for key, array in arrays.items() if change or key != name} | change
        with pytest.raises(FormatError, match="parameters"):
            load_model(artifact.pack(container.dump(meta, kept), ()), CONFIG.eval, torch.float32, CPU.device)
    with pytest.raises(FormatError, match="architecture"):
        load_model(artifact.pack(container.dump({}, arrays), ()), CONFIG.eval, torch.float32, CPU.device)


def test_calibration_is_the_second_moment_of_inputs_and_gradients():
    """Against sums over single tokens, of one matrix and of the head."""
    model, _ = trained()
    found = calibrate(replace(CONFIG, quant=Quant(calibration_batches=1)), CPU, model, batches(CONFIG))
    tokens, targets = next(batches(CONFIG))
    inputs, outputs = {}, {}

    def keep(name):
        def hook(_module, arguments, output):
            inputs[name] = arguments[0].detach()
            output.retain_grad()
            outputs[name] = output

        return hook

    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, Linear)]
    hooks = [module.register_forward_hook(keep(name)) for name, module in linear]
    hidden = model.hidden(tokens)
    logits = model.logits(hidden)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").backward()
    for hook in hooks:
        hook.remove()
    model.zero_grad(set_to_none=True)
    for name, _ in linear:
        x, g = inputs[name].flatten(0, -2), outputs[name].grad.flatten(0, -2)
        expected = torch.stack([torch.outer(row, row) for row in x]).mean(dim=0)
        torch.testing.assert_close(found.hessians[f"{name}.weight"], expected, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(found.fisher[f"{name}.weight"], g.square().mean(dim=0), atol=1e-7, rtol=1e-2)
    h = hidden.detach().flatten(0, 1)
    torch.testing.assert_close(found.hessians["embedding"], h.T @ h / len(h), atol=1e-4, rtol=1e-3)


def test_the_expected_loss_is_that_of_small_changes():
    """1/2 sum G e H e^T against the loss itself, with gradients of the model's own predictions: within a factor."""
    model, _ = trained()
    random = torch.Generator().manual_seed(3)
    tokens = next(batches(CONFIG))[0].repeat(8, 1)
    with torch.no_grad():
        chances = model.logits(model.hidden(tokens)).softmax(dim=-1)
        targets = torch.multinomial(chances.flatten(0, 1), 1, generator=random).view(tokens.shape)
    known = calibrate(replace(CONFIG, quant=Quant(calibration_batches=1)), CPU, model, iter([(tokens, targets)]))
    for name in ("blocks.0.mlp.up.weight", "blocks.1.attention.v.weight"):
        weight = model.get_parameter(name)
        change = 0.02 * torch.randn(weight.shape, generator=random)
        rows = ((change @ known.hessians[name]) * change).sum(dim=1)
        predicted = 0.5 * float((known.fisher[name] * rows).sum())

        def loss():
            logp = model.logits(model.hidden(tokens)).log_softmax(dim=-1)
            return float(-(chances * logp).sum(dim=-1).mean())

        with torch.no_grad():
            before = loss()
            weight += change
            after = loss()
            weight -= change
        assert 0.3 < (after - before) / predicted < 3.0


@pytest.mark.parametrize("share", [0.8, 0.9, 1.1])
def test_clips_fill_the_budget_and_pruning_does_the_rest(share):
    knobs = {"matrix_bits": 6, "embed_bits": 6, "matrix_clip_sigmas": 8.0, "embed_clip_sigmas": 8.0}
    target = int(share * len(artifact.pack(weights_of(knobs))))
    weights = weights_of({**knobs, "fill_bytes": target})
    packed = pack_within(weights, target, CODECS)
    assert target - 200 <= len(packed) <= target
    with pytest.raises(ValueError, match="clip_sigmas"):
        weights_of({"fill_bytes": target})


def test_bits_by_name_are_the_first_that_match():
    meta, _ = container.load(weights_of({"matrix_bits": 6, "embed_bits": 7, "bits_by_name": "blocks.0.mlp:4,mlp:5"}))
    bits = {name: value[0] for name, value in meta["matrices"].items()}
    assert bits["blocks.0.mlp.up.weight"] == 4
    assert bits["blocks.1.mlp.up.weight"] == 5
    assert bits["blocks.0.attention.q.weight"] == 6
    assert bits["embedding"] == bits["bigram.table"] == 7
    assert bits["blocks.0.attention.gate.weight"] == 8
    with pytest.raises(ValueError, match="NAME:BITS"):
        weights_of({"bits_by_name": "mlp=5"})


@pytest.mark.parametrize("columns", [1, 6, 64, 96, 192])
@pytest.mark.parametrize("kind", ["hadamard", "optrot"])
def test_a_rotation_is_orthogonal_and_is_undone(columns, kind):
    weight = torch.randn(5, columns)
    seed = rotation.best_seed(weight, kind)
    rotated = rotation.rotate(weight, seed)
    torch.testing.assert_close(rotated @ rotated.T, weight @ weight.T, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rotation.restore(rotated, seed), weight, atol=1e-5, rtol=1e-5)
    x = torch.randn(50, columns)
    h = x.T @ x
    torch.testing.assert_close(
        (rotated @ rotation.rotate_hessian(h, seed) * rotated).sum(), (weight @ h * weight).sum(), rtol=1e-3, atol=1e-2
    )


def test_optrot_spreads_outliers_better_than_fixed_signs():
    weight = torch.randn(32, 64)
    weight[:, 3] *= 20.0
    fourth = [
        float(rotation.rotate(weight, rotation.best_seed(weight, kind)).pow(4).sum()) for kind in ("hadamard", "optrot")
    ]
    assert fourth[1] < fourth[0] < 0.2 * float(weight.pow(4).sum())


@pytest.mark.parametrize("rank", [1, 4, 99])
def test_low_rank_correction_lowers_an_error_that_has_rank(rank):
    random = torch.Generator().manual_seed(0)
    error = torch.randn(24, 4, generator=random) @ torch.randn(4, 100, generator=random)
    parts = low_rank.approximate(error, rank, None)
    left = error - low_rank.correction(parts)
    assert left.square().sum() < {1: 0.95, 4: 0.7, 99: 0.8}[rank] * error.square().sum()
    assert parts["left"].min() >= low_rank.LEFT_LOW
    assert parts["left"].max() <= low_rank.LEFT_HIGH


@pytest.mark.parametrize("bits", [3, 5, 9, 10])
def test_short_scales_are_near_and_keep_their_order(bits):
    scales = torch.logspace(-7, 4, 400).half()
    short = grids.round_mantissa(scales, bits)
    normal = scales >= 2**-14
    assert (short[normal] / scales[normal] - 1).abs().max() <= 2.0 ** -(bits + 1) * 1.01
    assert (short.diff() >= 0).all()
    assert (short > 0).all()
    assert short.isfinite().all()
    if bits < 10:
        assert not (short.view(torch.int16) & ((1 << (10 - bits)) - 1)).any()

"""The presets: parameters to the unit, the whole network against a slow twin from its weights alone, golden losses."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from small_model import stir  # noqa: E402
from support import ROOT  # noqa: E402

from base.model.gpt import GPT, parameter_counts  # noqa: E402
from base.model.layers import initialise  # noqa: E402
from base.optim.optimiser import Optimiser  # noqa: E402
from base.presets import LEFT_OUT, PRESETS, PUBLISHED_PARAMETERS, RECIPES  # noqa: E402
from base.runtime import Runtime  # noqa: E402
from dev import golden  # noqa: E402


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_parameters_are_those_of_the_source_to_the_unit(name):
    left_out = sum(count for count, _ in LEFT_OUT.get(name, {}).values())
    assert parameter_counts(GPT(PRESETS[name]()))["total"] == PUBLISHED_PARAMETERS[name] - left_out


def test_the_numbers_are_those_of_the_reference():
    """The five of techniques.md 0.1, and #576's own log."""
    assert set(PUBLISHED_PARAMETERS.values()) == {
        26_993_766, 26_993_788, 27_301_064, 32_470_628, 27_201_116, 33_580_124,
    }  # fmt: skip
    assert sum(count for parts in LEFT_OUT.values() for count, _ in parts.values()) == 512 * 9 + 9  # #962's gate


def test_the_baseline_has_the_challenges_network():
    assert parameter_counts(GPT(PRESETS["baseline"]()))["total"] == 17_059_912


def test_the_challenge_has_the_records_parts():
    """The 1.0611 record has 35,945,671; its lanes also give the eight layers that never run as lanes 6 factors each."""
    assert parameter_counts(GPT(PRESETS["challenge"]()))["total"] == 35_945_671 - 8 * 6


def test_describe_says_what_is_left_out():
    command = [sys.executable, "-m", "base", "describe", "--preset", "seed_962"]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert found["published"]["parameters"] == 32_470_628
    assert found["published"]["more"] == -4_617
    assert found["published"]["left_out"]["alpha_head"][0] == 4_617
    assert found["parameters"]["total"] == 32_466_011


def test_every_recipe_exists_at_pocket_width():
    for name in RECIPES:
        full, small = PRESETS[name](), PRESETS[f"{name}_pocket"]()
        assert small.model.num_layers == full.model.num_layers
        assert small.model.model_dim == 64
        assert small.residual == full.residual
        assert small.model.num_heads // small.model.num_kv_heads == full.model.num_heads // full.model.num_kv_heads
        if full.attention.rope_dims:
            assert small.attention.rope_dims / 32 == full.attention.rope_dims / 64


def slow_forward(config, w, tokens):
    """Logits of one row (T,) from the state dict `w`, loop by loop: techniques.md 8.1, and 5g for the challenge."""
    model, attention, residual = config.model, config.attention, config.residual
    heads, kv_heads, dim = model.num_heads, model.num_kv_heads, model.model_dim
    size, length, count = dim // heads, len(tokens), model.num_layers
    sigmoid = torch.sigmoid

    def rms(x):
        return x / (x.square().mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt()

    def turn(x, t):
        rope, base = attention.rope_dims, attention.rope_base
        if attention.rope_scaling == "ntk":
            base *= 2.0 ** (rope / (rope - 2))
        out = x.clone()
        for j in range(rope // 2):
            angle = t * base ** (-2 * j / rope)
            one, two = x[j], x[j + rope // 2]
            out[j] = one * math.cos(angle) + two * math.sin(angle)
            out[j + rope // 2] = two * math.cos(angle) - one * math.sin(angle)
        return out

    x = w["embedding"][tokens]
    if config.embed.smear == "narrow":
        previous = torch.cat((torch.zeros(1, dim), x[:-1])) * (tokens != 1)[:, None]
        x = x + (w["smear.strength"] * sigmoid(x[:, :12] @ w["smear.weight"]))[:, None] * previous
    if config.embed.bigram_buckets:
        buckets = config.embed.bigram_buckets
        places = [buckets - 1] + [
            ((36313 * int(b)) ^ (27191 * int(a))) % (buckets - 1) for a, b in zip(tokens[:-1], tokens[1:], strict=True)
        ]
        x = x + w["bigram.scale"] * (w["bigram.table"][places] @ w["bigram.projection.weight"].T)
    x = rms(x)
    if config.embed.smear == "vector":
        share = sigmoid(w["smear.gate"])
        x = (1 - share) * x + share * torch.cat((torch.zeros(1, dim), x[:-1]))
    x0 = x

    def block_part(layer, name):
        return w[f"blocks.{layer}.{name}"]

    def entry(layer, x):
        return block_part(layer, "mix") * x + block_part(layer, "mix_first") * x0

    read = w["streams.reads"][0, 0] if residual.hyper_streams else 1.0  # #738: of the first layer's own input
    first_values = rms(entry(0, read * x0)) @ block_part(0, "attention.v.weight").T

    def attend(layer, h):
        q = (h @ block_part(layer, "attention.q.weight").T).view(length, heads, size)
        k = (h @ block_part(layer, "attention.k.weight").T).view(length, kv_heads, size)
        v = h @ block_part(layer, "attention.v.weight").T
        if layer >= count - 2 and attention.ve_layers:
            embedded = w["value_embedding.table"][tokens] @ w["value_embedding.projection.weight"].T
            v = v + block_part(layer, "attention.embedding_gain") * w["value_embedding.scale"] * embedded
        if layer and attention.value_residual == "additive":
            v = v + sigmoid(block_part(layer, "attention.value_residual.mix")) * first_values
        if layer and attention.value_residual == "softmax":
            one, two = block_part(layer, "attention.value_residual.mix").softmax(0)
            v = one * first_values + two * v
        v = v.view(length, kv_heads, size)
        y = torch.zeros(length, heads, size)
        for head in range(heads):
            group = head // (heads // kv_heads)
            queries = [turn(rms(q[t, head]), t) * block_part(layer, "attention.gain")[head] for t in range(length)]
            keys = [turn(rms(k[t, group]), t) for t in range(length)]
            for t in range(length):
                scores = torch.stack([queries[t] @ keys[s] for s in range(t + 1)]) / size**0.5
                y[t, head] = scores.softmax(0) @ v[: t + 1, group]
                if attention.xsa_layers == ":" or layer >= count - 4:
                    own = v[t, group] / v[t, group].norm()
                    y[t, head] = y[t, head] - (y[t, head] @ own) * own
        if attention.attention_gate == "dense":
            gate = sigmoid(h @ block_part(layer, "attention.gate.weight").T + block_part(layer, "attention.gate.bias"))
            y = y * gate[:, :, None]
        if attention.attention_gate == "sparse":
            y = y * sigmoid(0.5 * h[:, :12] @ block_part(layer, "attention.gate.weight").T)[:, :, None]
        out = y.reshape(length, dim) @ block_part(layer, "attention.out.weight").T
        return block_part(layer, "attention_gain") * out

    def think(layer, h):
        u = h @ block_part(layer, "mlp.up.weight").T
        u = torch.where(u > 0, u, model.leaky_slope * u) ** 2
        return block_part(layer, "mlp_gain") * (u @ block_part(layer, "mlp.down.weight").T)

    order = list(range(count))
    if residual.loop_passes == 3:
        order = [0, 1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5, 6, 7, 8, 9, 10]
    half, stack, lane, join = len(order) // 2, [], None, 0
    for place, layer in enumerate(order):
        scale = 1 / math.sqrt(layer + 1)
        if residual.parallel_residual == "lanes" and layer == count - 3:
            lane = x  # both lanes start as x; the skip goes into the first alone (techniques A22)
        if place >= half and stack:
            skip = w[f"skips.weight.{join}"] * stack.pop()
            share = sigmoid(w[f"skips.gate.{join}"]) if residual.unet_skips == "gated" else None
            x = x + skip if share is None else share * x + (1 - share) * skip
            join += 1
        if residual.parallel_residual == "lanes" and layer >= count - 3:
            heard, thought = attend(layer, rms(entry(layer, x)) * scale), think(layer, rms(lane) * scale)
            keep, post = w[f"lanes.{layer}.keep"], w[f"lanes.{layer}.post"]
            x, lane = (
                keep[0] * x + post[0] * heard + post[2] * thought,
                keep[1] * lane + post[1] * heard + post[3] * thought,
            )
        elif residual.hyper_streams:
            seen = w["streams.reads"][layer, 0] * x
            u = entry(layer, seen)
            u = u + attend(layer, rms(u) * scale)
            u = u + think(layer, rms(u) * scale)
            x = x + w["streams.writes"][layer, 0] * (u - seen)
        else:
            x = entry(layer, x)
            x = x + attend(layer, rms(x) * scale)
            x = x + think(layer, rms(x) * scale)
        if place < half:
            stack.append(x)
    x = x if lane is None else (x + lane) / 2
    return 30 * torch.tanh(rms(x) @ w["embedding"].T / 30)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "baseline"])
@torch.no_grad()
def test_the_network_is_its_slow_twin(name):
    config = PRESETS[f"{name}_pocket"]()
    model = GPT(config)
    initialise(model, 1)
    stir(model)
    tokens = torch.randint(0, 1024, (12,), generator=torch.Generator().manual_seed(0))
    tokens[5] = 1
    found = model.logits(model.hidden(tokens[None]))[0]
    torch.testing.assert_close(found, slow_forward(config, model.state_dict(), tokens), atol=2e-3, rtol=1e-3)


def drawn(name):
    """A preset at pocket width with every parameter away from its start, and a row of tokens."""
    config = PRESETS[f"{name}_pocket"]()
    model = GPT(config)
    initialise(model, 1)
    stir(model)
    return config, model, torch.randint(0, 1024, (12,), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_738s_first_values_see_what_its_first_layer_reads():
    """The residual's source has the read factor in it (.054 in logits at .95), and so has its twin."""
    config, model, tokens = drawn("seed_738")
    model.streams.reads.fill_(0.9)
    model.streams.writes.fill_(0.9)
    found = model.logits(model.hidden(tokens[None]))[0]
    weights = model.state_dict()
    torch.testing.assert_close(found, slow_forward(config, weights, tokens), atol=1e-4, rtol=1e-4)
    # x0 times .9 everywhere, but for the first values: that is the network as it was before
    unread = {**weights, "streams.reads": torch.cat((torch.ones(1, 1), weights["streams.reads"][1:]))}
    assert (found - slow_forward(config, unread, tokens)).abs().max() > 1e-2


def test_738s_factors_do_not_decay():
    config, model, _ = drawn("seed_738")
    optimiser = Optimiser(config, model, Runtime(0, 1, torch.device("cpu"), torch.float32))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimiser.step(1.0, 0.9)  # gradients of zero: only what decays moves
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert before.keys() - moved == {"streams.reads", "streams.writes"}


@torch.no_grad()
def test_576_has_plain_relu2():
    """Its logs print that source: a slope of .5 as in #569 gives other logits."""
    config, model, tokens = drawn("seed_576")
    found = model.logits(model.hidden(tokens[None]))[0]
    torch.testing.assert_close(found, slow_forward(config, model.state_dict(), tokens), atol=1e-4, rtol=1e-4)
    assert PRESETS["seed_576"]().model.leaky_slope == 0.0
    leaky = replace(config, model=replace(config.model, leaky_slope=0.5))
    assert (found - slow_forward(leaky, model.state_dict(), tokens)).abs().max() > 1e-2


def test_rounding_is_off_where_no_log_shows_that_it_ran():
    for name in ("seed_576", "seed_962"):
        assert PRESETS[name]().quant.qat == "none"
        assert "off" in PRESETS[name].__doc__
    assert PRESETS["seed_576"]().quant.qat_start == 0.7185  # step 4,457 of 6,204, for who switches it on


@pytest.mark.parametrize("name", [name for name in PRESETS if name.endswith(golden.SMALL)])
def test_golden_losses(name):
    """`make golden` compares bit for bit on one machine; other machines agree to 1e-4."""
    assert golden.losses(ROOT, name) == pytest.approx(golden.read(name), rel=1e-4)

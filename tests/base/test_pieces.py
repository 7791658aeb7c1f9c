"""Each piece of the network against a slow twin, an invariance or its start; the techniques' formulas, one by one."""

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import torch.nn.functional as F  # noqa: E402, N812
from small_model import SMALL, drawn, stir  # noqa: E402

from base.model import flash  # noqa: E402
from base.model.ahead import TokensAhead  # noqa: E402
from base.model.attention import Attention, Shared  # noqa: E402
from base.model.block import Block, mix_start  # noqa: E402
from base.model.differential import Differential  # noqa: E402
from base.model.documents import BOS, SHORTEST, cumulative_lengths, document_ids, same_document  # noqa: E402
from base.model.exclusive import exclusive  # noqa: E402
from base.model.flash import KERNELS, Flash, causal_attention  # noqa: E402
from base.model.gates import HeadGate, ValueGate  # noqa: E402
from base.model.gpt import GPT  # noqa: E402
from base.model.lanes import Lanes  # noqa: E402
from base.model.layers import chosen, initialise, rms_norm  # noqa: E402
from base.model.loss import softcapped_cross_entropy  # noqa: E402
from base.model.mlp import MLP  # noqa: E402
from base.model.ngrams import BIGRAM_PRIMES, ENGRAM_PRIMES, BigramHash, EngramLite, hashed  # noqa: E402
from base.model.polar import Polar  # noqa: E402
from base.model.rotary import Rotary, frequencies  # noqa: E402
from base.model.skips import Skips  # noqa: E402
from base.model.smear import NarrowSmear, VectorSmear  # noqa: E402
from base.model.streams import Streams  # noqa: E402
from base.model.values import ValueEmbedding, ValueResidual  # noqa: E402
from base.model.wavelet import Wavelet, causal_mean  # noqa: E402


def having(**sections):
    """SMALL with some knobs of some sections changed."""
    return replace(SMALL, **{name: replace(getattr(SMALL, name), **knobs) for name, knobs in sections.items()})


def awake(module, seed=1):
    """A piece as drawn, then stirred."""
    initialise(module, seed)
    return stir(module)


def fresh(module):
    initialise(module, 1)
    return module


def close(found, expected, atol=1e-5):
    torch.testing.assert_close(found, expected, atol=atol, rtol=1e-4)


@pytest.mark.parametrize(
    ("slices", "found"),
    [
        ("", set()),
        (":", {0, 1, 2, 3, 4}),
        ("-2:", {3, 4}),
        ("0,3", {0, 3}),
        ("1:3,-1", {1, 2, 4}),
        ("-9:", set(range(5))),
    ],
)
def test_layers_are_named_as_python_slices_them(slices, found):
    assert chosen(slices, 5) == found


@pytest.mark.parametrize("slices", ["7", "all", "1-3", "1:2:3:4", "1:x"])
def test_a_layer_that_is_none_is_named(slices):
    with pytest.raises(ValueError, match="expected indices and slices of 5"):
        chosen(slices, 5)


def test_exclusive_outputs_have_nothing_of_their_own_value():
    y, v = torch.randn(2, 5, 6, 8), torch.randn(2, 5, 3, 8)
    found = exclusive(y, v)
    for head in range(6):
        own = v[:, :, head // 2]
        unit = own / own.norm(dim=-1, keepdim=True)
        close(found[:, :, head], y[:, :, head] - (y[:, :, head] * unit).sum(-1, keepdim=True) * unit)
        close((found[:, :, head] * own).sum(-1), torch.zeros(2, 5))
    close(exclusive(v, v), torch.zeros_like(v))  # the first place of a row, which sees itself alone


@pytest.mark.parametrize(("kind", "start"), [("dense", 1 / (1 + math.exp(-4))), ("output", 1.0), ("sparse", 0.5)])
def test_head_gates(kind, start):
    config, x = having(attention={"attention_gate": kind}), torch.randn(2, 3, 32)
    gate = fresh(HeadGate(config))
    close(gate(x), torch.full((2, 3, 4, 1), start))
    gate = stir(gate)
    with torch.no_grad():
        gate.weight.mul_(10)
        z = x[..., : gate.weight.size(1)] @ gate.weight.T
        expected = {
            "dense": lambda: 1 / (1 + torch.exp(-z - gate.bias)),
            "output": lambda: 2 / (1 + torch.exp(-z)),
            "sparse": lambda: 1 / (1 + torch.exp(-z / 2)),
        }[kind]()
        close(gate(x), expected[..., None])
    assert gate.weight.shape == (4, 32 if kind == "dense" else 12)


def test_value_gates_start_open():
    gate, v = fresh(ValueGate(16)), torch.randn(2, 3, 16)
    close(gate(v), v / (1 + math.exp(-4)))
    stir(gate)
    close(gate(v), v * torch.sigmoid(v @ gate.weight.T + gate.bias))


def test_value_residuals_and_their_starts():
    v, first = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    sigmoid = 1 / (1 + math.exp(1.5))
    close(fresh(ValueResidual("additive"))(v, first), v + 0.5 * first)
    close(fresh(ValueResidual("convex"))(v, first), (1 - sigmoid) * v + sigmoid * first)
    close(fresh(ValueResidual("softmax"))(v, first), 0.5 * v + 0.5 * first)
    mixed = awake(ValueResidual("softmax"))
    weights = mixed.mix.exp() / mixed.mix.exp().sum()
    close(mixed(v, first), weights[0] * first + weights[1] * v)


def test_the_value_embedding_is_one_table_for_the_layers_that_read_it():
    config, tokens = having(attention={"ve_layers": "-1:", "ve_dim": 8}), torch.tensor([[3, 5, 3]])
    piece = awake(ValueEmbedding(config, 16))
    expected = piece.scale * (piece.table[tokens] @ piece.projection.weight.T)
    close(piece(tokens, torch.float32), expected)
    model = drawn(config)
    assert [block.attention.embedding_gain is not None for block in model.blocks] == [False, True]
    x = torch.randn(1, 3, 32)
    attention, shared = model.blocks[1].attention, Shared(x, value_embedding=torch.randn(1, 3, 16))
    close(attention.values(x, shared), attention.v(x) + shared.value_embedding)


def test_partial_rotary_turns_the_first_channels_alone():
    rotary, x = Rotary(replace(SMALL.attention, rope_dims=4), 8, 32), torch.randn(1, 32, 2, 8)
    whole = Rotary(SMALL.attention, 4, 32)
    found = rotary(x)
    assert torch.equal(found[..., 4:], x[..., 4:])
    close(found[..., :4], whole(x[..., :4]))
    angle = 7 * 10_000.0 ** (-2 / 4)  # position 7, second of two pairs
    one, two = x[0, 7, 0, 1], x[0, 7, 0, 3]
    close(found[0, 7, 0, 1], one * math.cos(angle) + two * math.sin(angle))
    close(found[0, 7, 0, 3], two * math.cos(angle) - one * math.sin(angle))
    with pytest.raises(ValueError, match="rope_dims 10"):
        Rotary(replace(SMALL.attention, rope_dims=10), 8, 32)


def test_longer_contexts_rescale_the_frequencies():
    knobs = replace(SMALL.attention, rope_scaling="ntk", rope_train_length=1024)
    base = frequencies(knobs, 16, 2048)[1].item() ** -8  # f_1 = base^(-2/16)
    assert base == pytest.approx(22_082, abs=1)  # the base that all seeds train with
    plain = frequencies(replace(knobs, rope_scaling="none"), 16, 2048)
    close(frequencies(knobs, 16, 1024), plain)  # nothing to stretch
    yarn = frequencies(replace(knobs, rope_scaling="yarn"), 16, 4096)
    assert torch.equal(yarn[:3], plain[:3])  # shares 0, 1/8, 1/4: fast pairs stay
    ramp = (torch.arange(8) / 8 - 0.25).clamp(min=0) / 0.75
    close(plain / yarn, ramp * 3 + 1)


def test_polar_positions():
    knobs = SMALL.attention
    polar = fresh(Polar(knobs, 4, 2, 16))
    close(polar.phase, torch.full((2, 4), -4.0))
    with torch.no_grad():
        polar.phase.copy_(torch.tensor([[-1.0, 0.5, -7.0, -3.0], [0.0, -0.1, -6.0, 3.0]]))
    q, k = torch.randn(1, 16, 4, 4), torch.randn(1, 16, 2, 4)
    turned_q, turned_k = polar(q, k)
    delta = -2 * math.pi / (1 + (-polar.phase.detach()).exp())
    theta = knobs.rope_base ** (-torch.arange(4) / 4)
    for t, s, head in ((0, 0, 0), (9, 4, 1), (15, 2, 3), (5, 5, 2)):
        group = head // 2
        lengths = torch.log1p(q[0, t, head].exp()) * torch.log1p(k[0, s, group].exp())
        expected = (lengths * torch.cos((s - t) * theta + delta[group])).sum()
        close(turned_q[0, t, head] @ turned_k[0, s, group], expected)
    (turned_q.sum() + turned_k.square().sum() + turned_k.sum()).backward()
    assert (polar.phase.grad != 0).all()  # also where a clamp would have stopped it for good


def test_differential_attention_is_a_difference_of_two_maps():
    piece = awake(Differential(8, layer=2))
    start = 0.8 - 0.6 * math.exp(-0.6)
    assert piece.start == pytest.approx(start)
    assert Differential(8, 0).start == pytest.approx(0.2)
    q, k, v = torch.randn(1, 6, 8, 4), torch.randn(1, 6, 4, 4), torch.randn(1, 6, 2, 8)
    found, mask = piece(q, k, v), torch.full((6, 6), float("-inf")).triu(1)
    a, b, c, d = piece.vectors
    share = (a @ b).exp() - (c @ d).exp() + start
    for head in range(4):
        group = head // 2
        maps = [(q[0, :, 2 * head + half] @ k[0, :, 2 * group + half].T / 2.0 + mask).softmax(-1) for half in (0, 1)]
        y = (maps[0] - share * maps[1]) @ v[0, :, head // 2]
        close(found[0, :, head], (1 - start) * y / (y.square().mean(-1, keepdim=True) + 1e-7).sqrt(), atol=1e-3)


@pytest.fixture
def stub_flash():
    """A FlashAttention for the CPU, of torch's own kernel: what is given to it is what a GPU's would get."""

    def equal(q, k, v, causal, deterministic):
        assert causal
        return causal_attention(q.float(), k.float(), v.float()).to(q.dtype)

    def varying(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, causal, deterministic):
        assert torch.equal(cu_seqlens_q, cu_seqlens_k)
        assert cu_seqlens_q.diff().max() <= max_seqlen_q == max_seqlen_k
        parts = [
            equal(q[None, first:last], k[None, first:last], v[None, first:last], causal, deterministic)[0]
            for first, last in zip(cu_seqlens_q[:-1].tolist(), cu_seqlens_q[1:].tolist(), strict=True)
            if first < last
        ]
        return torch.cat(parts)

    KERNELS["cpu"] = Flash(3, equal, varying)
    yield
    del KERNELS["cpu"]


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("knobs", [{}, {"polar_positions": True}, {"differential": True}])
def test_any_kernel_gives_the_same_network(stub_flash, documents, knobs):
    config = having(attention={"document_attention": documents, **knobs}, data={"sequence_length": 96})
    tokens = with_documents()
    model = GPT(config, torch.bfloat16)
    initialise(model, 1)
    stir(model)
    found = model.hidden(tokens)
    stub = KERNELS.pop("cpu")
    expected = model.hidden(tokens)
    KERNELS["cpu"] = stub
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)


def test_a_hopper_gpu_without_its_kernel_is_told_the_cost(monkeypatch, stub_flash):
    capability, cuda = (9, 0), torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)  # no GPU here to ask
    assert "torch's own kernels, about 100 ms a step instead of 87" in flash.advice(cuda)
    monkeypatch.setitem(KERNELS, "cuda", replace(KERNELS["cpu"], version=2))
    assert "FlashAttention 2" in flash.advice(cuda)
    monkeypatch.setitem(KERNELS, "cuda", KERNELS["cpu"])
    assert flash.advice(cuda) is None
    del KERNELS["cuda"]
    capability = (8, 0)
    assert flash.advice(cuda) is None
    assert flash.advice(torch.device("cpu")) is None


@pytest.mark.slow  # torch.compile's own start is half a minute
@pytest.mark.filterwarnings("ignore")
def test_a_forward_pass_compiles_as_one_graph(stub_flash):
    from base.presets import PRESETS

    config = PRESETS["challenge_pocket"]()
    model = GPT(config, torch.bfloat16)
    initialise(model, 1)
    tokens = torch.randint(2, 1024, (2, 64))
    whole = torch.compile(model.hidden, fullgraph=True, backend="eager")
    torch.testing.assert_close(whole(tokens), model.hidden(tokens))
    model.looping = False
    torch.testing.assert_close(whole(tokens), model.hidden(tokens))


def with_documents(rows=2, length=96):
    tokens = torch.randint(2, 97, (rows, length))
    tokens[:, [0, 10, 60]] = BOS
    return tokens


POSITIONS = {
    "rope": {},
    "partial": {"rope_dims": 4},
    "ntk": {"rope_scaling": "ntk", "rope_train_length": 32},
    "yarn": {"rope_scaling": "yarn", "rope_train_length": 32},
    "pope": {"polar_positions": True},
    "differential": {"differential": True},
}


@pytest.mark.parametrize("knobs", POSITIONS.values(), ids=POSITIONS)
def test_a_document_is_read_as_if_alone(knobs):
    """Positions enter as distances only, so a document in the middle of a row is a document at its start."""
    config = having(attention={"document_attention": True, **knobs}, data={"sequence_length": 96})
    model, tokens = stir(drawn(config)), with_documents()
    together, apart = model.hidden(tokens), [model.hidden(part) for part in tokens.split((10, 50, 36), dim=1)]
    close(together, torch.cat(apart, dim=1), atol=1e-4)
    mixed = stir(drawn(having(attention=knobs, data={"sequence_length": 96}))).hidden(tokens)
    assert not torch.allclose(mixed[:, 10:], torch.cat(apart[1:], dim=1), atol=1e-2)


def test_segment_starts_and_masks_say_the_same():
    tokens = with_documents()
    ids = document_ids(tokens)
    starts = cumulative_lengths(ids)
    assert len(starts) == 2 * (96 // SHORTEST + 1) + 1
    assert starts[:6].tolist() == [0, 10, 60, 96, 106, 156]
    assert set(starts[6:].tolist()) == {192}
    q, k, v = (torch.randn(2, 96, 2, 8) for _ in range(3))
    masked = causal_attention(q, k, v, same_document(ids)).flatten(0, 1)
    for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        if first < last:
            part = causal_attention(*(x.flatten(0, 1)[None, first:last] for x in (q, k, v)))[0]
            close(masked[first:last], part)


def test_many_short_documents_share_the_last_segment_of_their_row():
    tokens = torch.full((2, 96), 5)
    tokens[:, ::2] = BOS
    ids = document_ids(tokens)
    starts = cumulative_lengths(ids)
    assert ids.max() == 96 // SHORTEST
    assert 96 in starts.tolist()  # no segment runs over the end of a row
    pieces = [
        ids.flatten()[a:b].unique() for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True) if a < b
    ]
    assert all(len(piece) == 1 for piece in pieces)


@pytest.mark.parametrize("inside", [False, True])
def test_smear(inside):
    config, tokens, x = having(embed={"smear_documents": inside}), with_documents(), torch.randn(2, 96, 32)
    vector, narrow = awake(VectorSmear(config.embed, 32)), awake(NarrowSmear(config.embed, 32))
    share = torch.sigmoid(vector.gate)
    for t in range(96):
        before = x[:, t - 1] if t else torch.zeros(2, 32)
        if inside:
            before = before * (tokens[:, t] != BOS)[:, None]
        close(vector(x, tokens)[:, t], (1 - share) * x[:, t] + share * before)
        strength = narrow.strength * torch.sigmoid(x[:, t, :12] @ narrow.weight)
        close(narrow(x, tokens)[:, t], x[:, t] + strength[:, None] * before)
    assert torch.equal(fresh(NarrowSmear(config.embed, 32))(x, tokens), x)
    assert sum(weight.numel() for weight in narrow.parameters()) == 13


def test_hashes_are_those_of_the_formula():
    tokens = torch.randint(0, 8192, (2, 9))
    found = hashed(tokens, BIGRAM_PRIMES, 2048)
    for row, places in zip(tokens.tolist(), found.tolist(), strict=True):
        assert places[0] == 2047
        for t in range(1, 9):
            assert places[t] == ((36313 * row[t]) ^ (27191 * row[t - 1])) % 2047
    three = hashed(tokens, ENGRAM_PRIMES[3], 64)
    a, b, c = tokens[0, 2:5].tolist()
    assert three[0, :2].tolist() == [63, 63]
    assert three[0, 4] == ((51647 * c) ^ (81929 * b) ^ (131071 * a)) % 63


def test_bigrams_start_silent_and_alive():
    config, tokens = having(embed={"bigram_buckets": 64, "bigram_dim": 8}), torch.randint(0, 97, (2, 9))
    piece = fresh(BigramHash(config))
    out = piece(tokens, torch.float32)
    assert not out.any()
    out.backward(torch.randn_like(out))
    assert piece.table.grad.abs().sum() > 0  # zero table times zero projection would never move
    stir(piece)
    expected = piece.scale * (piece.table[hashed(tokens, BIGRAM_PRIMES, 64)] @ piece.projection.weight.T)
    close(piece(tokens, torch.float32), expected)


def test_projections_start_as_large_as_their_source_has_them():
    for gain in (1.0, 22**-0.5):
        config = having(
            embed={"bigram_buckets": 64, "bigram_dim": 8, "projection_gain": gain},
            attention={"ve_layers": ":", "ve_dim": 8},
        )
        for piece in (BigramHash(config), ValueEmbedding(config, 16)):
            weight = fresh(piece).projection.weight
            close(weight.T @ weight, gain**2 * torch.eye(8))


def test_engrams():
    config, tokens = having(embed={"engram_buckets": 32, "engram_dim": 4}), torch.randint(0, 97, (2, 9))
    piece, x = awake(EngramLite(config)), torch.randn(2, 9, 32)
    tables = piece.table.view(4, 32, 4)
    found = torch.cat([tables[i][hashed(tokens, primes, 32)] for i, primes in enumerate(ENGRAM_PRIMES)], dim=-1)
    gate = torch.sigmoid(rms_norm(x) @ piece.gate.weight.T)
    close(piece(tokens, x), gate * (found @ piece.projection.weight.T))
    out = fresh(EngramLite(config))(tokens, x)
    assert not out.any()


def test_wavelet_means_are_of_the_past():
    x = torch.randn(2, 20, 6)
    for level in (1, 2, 4):
        for t in range(20):
            close(causal_mean(x, level)[:, t], x[:, max(0, t + 1 - 2**level) : t + 1].mean(dim=1))
    piece = fresh(Wavelet(having(embed={"wavelet_dims": 6, "wavelet_levels": 3})))
    wide = torch.randn(2, 20, 32)
    found = piece(wide, 0)
    assert torch.equal(found[..., :26], wide[..., :26])
    close(found[..., 30:], causal_mean(wide[..., 30:], 3))
    with torch.no_grad():
        piece.share.fill_(0.25)
    close(piece(wide, 1)[..., 26:28], 0.75 * wide[..., 26:28] + 0.25 * causal_mean(wide[..., 26:28], 1))


def test_the_other_mlps():
    x = torch.randn(5, 32)
    star = awake(MLP(having(model={"activation": "star_relu"})))
    u = (x @ star.up.weight.T).clamp(min=0)
    close(star(x), (star.scale * u * u + star.bias) @ star.down.weight.T, atol=1e-4)
    config = having(model={"activation": "swiglu", "mlp_multiple": 3.0})
    glu, plain = awake(MLP(config)), MLP(having(model={"mlp_multiple": 3.0}))
    g = x @ glu.gate.weight.T
    close(glu(x), (g / (1 + (-g).exp()) * (x @ glu.up.weight.T)) @ glu.down.weight.T, atol=1e-4)
    counts = [sum(weight.numel() for weight in mlp.parameters()) for mlp in (glu, plain)]
    assert counts[0] == counts[1]
    squared = awake(MLP(having(model={"leaky_slope": 0.0})))
    close(squared(x), (x @ squared.up.weight.T).clamp(min=0).square() @ squared.down.weight.T, atol=1e-4)


def test_skips():
    x, skip = torch.randn(2, 3, 32), torch.randn(2, 3, 32)
    plain = awake(Skips(having(residual={"unet_skips": "plain"}), 2))
    close(plain(x, skip, 1), x + plain.weight[1] * skip)
    gated = Skips(having(residual={"unet_skips": "gated"}), 2)
    close(fresh(gated)(x, skip, 0), 0.5 * x + 0.5 * skip)
    share = torch.sigmoid(stir(gated).gate[1])
    close(gated(x, skip, 1), share * x + (1 - share) * gated.weight[1] * skip)


def test_lanes():
    config = having(residual={"parallel_residual": "lanes", "parallel_layers": "-1:"})
    block, lanes = awake(Block(config, 1)), fresh(Lanes())
    a, b, x0 = (torch.randn(1, 5, 32) for _ in range(3))
    shared = Shared(x0)
    heard = block.attention_gain * block.attention(rms_norm(block.mix * a + block.mix_first * x0), shared)
    thought = block.mlp_gain * block.mlp(rms_norm(b))
    close(lanes(block, a, b, shared), (1.1 * a + heard + thought, 1.1 * b + heard + thought))
    keep, post = stir(lanes).keep, lanes.post
    expected = (
        keep[0] * a + post[0] * heard + post[2] * thought,
        keep[1] * b + post[1] * heard + post[3] * thought,
    )
    close(lanes(block, a, b, shared), expected)


def test_streams_start_as_the_plain_network_and_mix_as_written():
    tokens = torch.randint(0, 97, (2, 20))
    plain = stir(drawn())
    for count in (1, 3):
        model = stir(drawn(having(residual={"hyper_streams": count})))
        initialise(model.streams, 1)
        close(model.hidden(tokens), plain.hidden(tokens), atol=1e-4)
    piece = awake(Streams(having(residual={"hyper_streams": 3})))
    h = torch.randn(3, 1, 4, 32)
    seen = piece.read(h[0], h[1:], 1)
    close(seen, sum(piece.reads[1, j] * h[j] for j in range(3)))
    added = torch.randn(1, 4, 32)
    x, others = piece.write(h[0], h[1:], added, 1)
    for j, stream in enumerate((x, *others)):
        close(stream, h[j] + piece.writes[1, j] * added)


def test_ways_to_put_a_block_together():
    x, x0 = torch.randn(1, 5, 32), torch.randn(1, 5, 32)
    shared = Shared(x0)

    def parts(block):
        mixed = block.mix * x + block.mix_first * x0
        return (
            mixed,
            lambda h: block.attention_gain * block.attention(h, shared),
            lambda h: block.mlp_gain * block.mlp(h),
        )

    block = awake(Block(having(residual={"parallel_residual": "single", "parallel_layers": "1"}), 1))
    mixed, attention, mlp = parts(block)
    close(block(x, shared), mixed + attention(rms_norm(mixed)) + mlp(rms_norm(mixed)))
    block = awake(Block(having(residual={"hybrid_norm": True}), 1))
    mixed, attention, mlp = parts(block)
    y = rms_norm(mixed + attention(mixed))
    close(block(x, shared), y + mlp(y), atol=1e-4)
    v = block.attention.values(x, shared).unflatten(-1, (2, 8))
    close(v.square().mean(-1), torch.ones(1, 5, 2))
    block = awake(Block(having(residual={"ln_scale": True}), 3))
    mixed, attention, mlp = parts(block)
    y = mixed + attention(rms_norm(mixed) / 2)
    close(block(x, shared), y + mlp(rms_norm(y) / 2))


def test_the_mix_starts_in_phase():
    assert mix_start("phase", 0, 11) == pytest.approx(0.182, abs=5e-4)
    assert mix_start("phase", 5, 11) == pytest.approx(0.5)
    assert mix_start("phase", 10, 11) == pytest.approx(0.818, abs=5e-4)
    block = fresh(Block(having(residual={"resid_mix": "phase"}), 0))
    close(block.mix + block.mix_first, torch.ones(32))
    assert mix_start("identity", 4, 11) == 1.0


def test_looped_layers_run_in_the_records_order():
    config = having(model={"num_layers": 11}, residual={"loop_passes": 3, "unet_skips": "gated"})
    model = GPT(config)
    assert model.order() == [0, 1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5, 6, 7, 8, 9, 10]
    assert len(model.skips.weight) == 8
    model.reach(0.34)
    assert model.order() == list(range(11))
    model.reach(0.35)
    assert len(model.order()) == 17
    plain = GPT(SMALL)
    plain.reach(0.0)
    assert plain.looping  # a switch that changes nothing would still make torch.compile start again


def test_backout_takes_the_middle_out():
    model, plain = stir(drawn(having(residual={"backout": True}))), stir(drawn())
    tokens = torch.randint(0, 97, (1, 9))
    x = x0 = plain.embedded(tokens)
    shared = Shared(x0)
    first = plain.blocks[0](x, shared)
    middle = plain.blocks[1](first, shared)  # block 2 // 2
    close(model.hidden(tokens), rms_norm(middle - model.backout * middle))
    assert fresh(GPT(having(residual={"backout": True}))).backout.item() == pytest.approx(0.2)


def test_tokens_ahead():
    piece = awake(TokensAhead(having(model={"mtp_heads": 2, "mtp_weight": 0.3})))
    hidden, targets = torch.randn(2, 12, 32), torch.randint(0, 97, (2, 12))
    losses = [
        F.cross_entropy(30 * torch.tanh(hidden[:, :-k] @ head.T / 30).flatten(0, 1), targets[:, k:].flatten())
        for k, head in zip((1, 2), piece.heads, strict=True)
    ]

    def cross_entropy(hidden, head, targets):
        return softcapped_cross_entropy(hidden, head, targets, 30.0)

    close(piece(hidden, targets, cross_entropy), 0.3 * (losses[0] + losses[1]) / 2)


def test_no_softcap_is_plain_cross_entropy_and_an_untied_head_is_its_own():
    hidden, head = torch.randn(700, 32, requires_grad=True), torch.randn(97, 32, requires_grad=True)
    targets = torch.randint(0, 97, (700,))
    slow = F.cross_entropy(20 * hidden @ head.T, targets)
    fast = softcapped_cross_entropy(20 * hidden, head, targets, 0.0)
    close(fast, slow)
    for found, expected in zip(*(torch.autograd.grad(loss, (hidden, head)) for loss in (fast, slow)), strict=True):
        close(found, expected)
    model = stir(drawn(having(model={"tie_embeddings": False, "softcap": 0.0})))
    hidden = model.hidden(torch.randint(0, 97, (1, 5)))
    close(model.logits(hidden), hidden @ model.head.T)


def test_without_qk_norm_the_scale_of_queries_matters():
    attention = awake(Attention(having(attention={"qk_norm": False}), 0))
    x = torch.randn(1, 9, 32)
    before = attention(x, Shared(x))
    with torch.no_grad():
        attention.q.weight.mul_(3.0)
    assert not torch.allclose(attention(x, Shared(x)), before, atol=1e-3)


LANES = {"parallel_residual": "lanes", "parallel_layers": "-1:"}


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"attention": {"differential": True, "polar_positions": True}}, "choose one"),
        ({"residual": {"loop_passes": 2, "loop_last": 9}}, "loop_last 9"),
        ({"residual": LANES | {"parallel_layers": "0"}}, "parallel_layers '0'"),
        ({"residual": LANES | {"loop_passes": 2, "loop_first": 1, "loop_last": 1}}, "must come after the loop"),
        ({"residual": {"parallel_residual": "single", "hybrid_norm": True}}, "choose one"),
        ({"residual": LANES | {"hyper_streams": 2}}, "choose one"),
        ({"embed": {"wavelet_dims": 7}}, "wavelet_dims 7"),
    ],
)  # fmt: skip
def test_pieces_that_do_not_fit_together_are_named(sections, named):
    with pytest.raises(ValueError, match=named):
        GPT(having(**sections))

"""The sliding window: every token once, with its full context, however the stream is cut and read."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import (  # noqa: E402
    SMALL,
    assert_close,
    document_tokens,
    initialized_model,
    perturb,
    perturbed_model,
    randn,
    small_config,
)

from base import runtime  # noqa: E402
from base.evaluate.kv_cache import KeyValueCache, TurboQuant  # noqa: E402
from base.evaluate.scorer import Scorer  # noqa: E402
from base.evaluate.text import Text  # noqa: E402
from base.presets import PRESETS  # noqa: E402

CPU = runtime.Runtime(0, 1, torch.device("cpu"), torch.float32)
TOKENS = np.random.default_rng(0).integers(0, 97, 500).astype(np.uint16)


@pytest.fixture(scope="module")
def scorer():
    torch.set_flush_denormal(True)
    return Scorer(SMALL, CPU, perturbed_model().eval())


@pytest.fixture(autouse=True)
def fresh(scorer):
    scorer.reset()


def slow_losses(model, tokens):
    """One forward pass per token over exactly the window the challenge gives it."""
    length, stride = SMALL.eval.eval_length, SMALL.eval.eval_stride
    losses = [math.log(97)]
    for target in range(1, len(tokens)):
        position = target - 1
        start = 0 if position < length else ((position - length) // stride + 1) * stride
        window = torch.tensor(tokens[start:target].astype(np.int64))[None]
        logits = model.logits(model.hidden(window))[0, -1]
        losses.append(-logits.log_softmax(-1)[int(tokens[target])].item())
    return np.array(losses)


def test_losses_are_those_of_the_challenges_windows(scorer):
    with torch.inference_mode():
        expected = slow_losses(scorer.model, TOKENS[:200])
    assert np.allclose(scorer.observe(TOKENS[:200]), expected, atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_losses_do_not_depend_on_the_cuts(scorer, seed):
    whole = scorer.observe(TOKENS)
    scorer.reset()
    rng, parts, start = np.random.default_rng(seed), [], 0
    while start < len(TOKENS):
        size = int(rng.choice([0, 1, 2, 15, 16, 17, 64, 100]))
        parts.append(scorer.observe(TOKENS[start : start + size]))
        start += size
    assert np.allclose(np.concatenate(parts), whole, atol=1e-6)


@pytest.mark.parametrize("position", [0, 1, 15, 16, 63, 64, 65, 80, 81, 255])
def test_predict_agrees_with_observe(scorer, position):
    scorer.observe(TOKENS[:position])
    table = scorer.predict()
    assert np.exp(table.astype(np.float64)).sum() == pytest.approx(1.0, abs=1e-5)
    assert scorer.observe(TOKENS[position : position + 1])[0] == pytest.approx(-table[TOKENS[position]], abs=1e-6)


def test_the_future_changes_nothing_inside_a_block(scorer):
    before = scorer.observe(TOKENS)
    scorer.reset()
    changed = TOKENS.copy()
    changed[300:] = (changed[300:] + 1) % 97
    after = scorer.observe(changed)
    assert np.array_equal(before[:300], after[:300])
    assert not np.allclose(before[301:], after[301:])


@pytest.mark.parametrize("stride", [1, 7, 24, 63, 64])
def test_any_stride_gives_each_token_at_least_length_minus_stride_of_context(scorer, stride):
    """The challenge's windows: the first scores all of its tokens, each later one ends `stride` tokens further."""
    config = small_config(eval={"eval_stride": stride})
    found = Scorer(config, scorer.runtime, scorer.model).observe(TOKENS[:150])
    with torch.inference_mode():
        for target in (1, 2, 63, 64, 65, 66, 100, 127, 149):
            position, length = target - 1, config.eval.eval_length
            end = length if position < length else length + -(-(position + 1 - length) // stride) * stride
            context = torch.tensor(TOKENS[end - length : target].astype(np.int64))[None]
            logp = scorer.model.logits(scorer.model.hidden(context))[0, -1].log_softmax(-1)
            assert found[target] == pytest.approx(-logp[int(TOKENS[target])].item(), abs=1e-4), target


def test_a_stride_longer_than_the_window_is_named(scorer):
    with pytest.raises(ValueError, match="got eval_stride 65, expected 1 to eval_length 64"):
        Scorer(small_config(eval={"eval_stride": 65}), scorer.runtime, scorer.model)


@pytest.mark.parametrize("name", ["pocket", *(name for name in PRESETS if name.endswith("_pocket"))])
@torch.no_grad()
def test_a_cache_of_keys_and_values_gives_the_same_states(name):
    """Every network of the presets: tokens read in pieces after those that are known, against the whole row at once."""
    config = PRESETS[name]()
    model = perturb(initialized_model(config)).eval()
    row = document_tokens(1, 96)
    cache, parts, at = KeyValueCache(), [], 0
    for size in (1, 1, 20, 2, 40, 1, 31):
        parts.append(model.hidden(row[:, : at + size], cache))
        at += size
    assert_close(torch.cat(parts, dim=1), model.hidden(row), atol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("knobs", [{"polar_positions": True}, {"differential": True}, {"document_attention": True}])
def test_a_cache_serves_every_attention(knobs):
    config = small_config(attention=knobs, eval={"eval_length": 96})
    model, row = perturbed_model(config).eval(), document_tokens(1, 96)
    cache = KeyValueCache()
    parts = [model.hidden(row[:, :end], cache) for end in (50, 51, 96)]
    assert_close(torch.cat(parts, dim=1), model.hidden(row), atol=2e-5)


def test_quantized_keys_are_those_of_the_grid_in_windows_and_in_the_cache():
    config = small_config(eval={"kv_bits": 4})
    scorer = Scorer(config, CPU, perturbed_model().eval())
    whole = scorer.observe(TOKENS)
    scorer.reset()
    one_by_one = np.concatenate([scorer.observe(TOKENS[i : i + 1]) for i in range(200)])
    assert np.allclose(one_by_one, whole[:200], atol=1e-5)
    assert np.abs(whole - Scorer(SMALL, CPU, perturbed_model().eval()).observe(TOKENS)).max() > 1e-3


@pytest.mark.parametrize(("bits", "error"), [(2, 0.13), (3, 0.045), (4, 0.015), (6, 0.0015), (8, 0.00015)])
def test_a_grid_of_b_bits_loses_what_the_best_uniform_grid_does(bits, error):
    """Mean squared error of a normal channel: .1188, .0374, .0115, .00104, .0001 (Max 1960)."""
    keys = randn(64, 8, 4, 64) * torch.linspace(0.1, 3, 64)[:, None, None, None]
    lost = (TurboQuant(bits, 64)(keys) - keys).square().sum(-1) / keys.square().sum(-1)
    assert lost.mean() < error


@pytest.mark.parametrize("seed", range(3))
def test_predictions_in_any_order_are_those_of_a_scorer_that_starts_anew(scorer, seed):
    """Results of a block or an earlier prediction are reused, and never after the stream has grown."""
    rng, seen = np.random.default_rng(seed), 0
    while seen < 300:
        for _ in range(int(rng.integers(0, 3))):
            table = scorer.predict()
            fresh = Scorer(SMALL, scorer.runtime, scorer.model)
            fresh.observe(TOKENS[:seen])
            assert np.allclose(table, fresh.predict(), atol=1e-5)
        size = int(rng.choice([0, 1, 1, 2, 16, 40]))
        scorer.observe(TOKENS[seen : seen + size])
        seen += size


def test_a_long_stream_keeps_the_last_tokens_in_bounded_memory():
    text, stream = Text(100), np.arange(1_000_000) % 97
    for start in range(0, len(stream), 999):
        text.append(stream[start : start + 999])
        assert len(text.buffer) < 2_000
        assert np.array_equal(text[max(text.seen - 100, 0) : text.seen], stream[: text.seen][-100:])
    with pytest.raises(IndexError, match="got tokens 0 to 1"):
        text[0:1]

"""The sliding scorer: every token once, with its full context, however the stream is cut."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import SMALL, perturbed_model  # noqa: E402

from base import runtime  # noqa: E402
from base.evaluate.sliding import SlidingScorer  # noqa: E402

TOKENS = np.random.default_rng(0).integers(0, 97, 500).astype(np.uint16)


@pytest.fixture(scope="module")
def scorer():
    torch.set_flush_denormal(True)
    cpu = runtime.Runtime(0, 1, torch.device("cpu"), torch.float32)
    return SlidingScorer(SMALL, cpu, perturbed_model().eval())


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


def test_a_stride_that_does_not_divide_is_named(scorer):
    import dataclasses

    config = dataclasses.replace(SMALL, eval=dataclasses.replace(SMALL.eval, eval_stride=24))
    with pytest.raises(ValueError, match="eval_stride 24 must divide"):
        SlidingScorer(config, scorer.runtime, scorer.model)


@pytest.mark.parametrize("seed", range(3))
def test_predictions_in_any_order_are_those_of_a_scorer_that_starts_anew(scorer, seed):
    """Results of a block or an earlier prediction are reused, and never after the stream has grown."""
    rng, seen = np.random.default_rng(seed), 0
    while seen < 300:
        for _ in range(int(rng.integers(0, 3))):
            table = scorer.predict()
            fresh = SlidingScorer(SMALL, scorer.runtime, scorer.model)
            fresh.observe(TOKENS[:seen])
            assert np.allclose(table, fresh.predict(), atol=1e-5)
        size = int(rng.choice([0, 1, 1, 2, 16, 40]))
        scorer.observe(TOKENS[seen : seen + size])
        seen += size


def test_a_long_stream_keeps_every_token(scorer):
    long = np.tile(TOKENS, 400)[: (1 << 16) + 100]
    scorer.append(long[:-50])
    scorer.append(long[-50:])
    assert np.array_equal(scorer.stream, long)

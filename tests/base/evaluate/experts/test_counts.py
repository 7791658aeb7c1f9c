"""Counts of what followed contexts: C against Python, and both against definitions, as tables fill and rings forget."""

import numpy as np
import pytest

from base import native
from base.evaluate.experts import counts, counts_twin

needs_compiler = pytest.mark.skipif(native.library() is None, reason="there is no C compiler to compile base/native.py")
SMOOTHINGS = [("dirichlet", 3.0), ("witten_bell", 1.0), ("kneser_ney", 0.7)]


def text(count: int, alphabet: int = 5, seed: int = 0) -> np.ndarray:
    """Random symbols with passages that come again."""
    rng = np.random.default_rng(seed)
    parts = [rng.integers(0, alphabet, 40) for _ in range(4)]
    drawn = [parts[rng.integers(4)] if rng.random() < 0.5 else rng.integers(0, alphabet, 9) for _ in range(count // 9)]
    return np.concatenate(drawn)[:count].astype(np.uint16)


@needs_compiler
@pytest.mark.parametrize(("smoothing", "strength"), SMOOTHINGS)
@pytest.mark.parametrize(("order", "slots_log2"), [(2, 4), (3, 10), (6, 5), (9, 12)])
def test_ngrams_in_c_are_those_in_python_however_the_stream_is_cut(smoothing, strength, order, slots_log2):
    arguments = (order, 7, smoothing, strength, 2, slots_log2)
    fast, slow, stream = counts.NgramCounts(*arguments), counts_twin.NgramCounts(*arguments), text(1500)
    rng, at = np.random.default_rng(1), 0
    while at < len(stream):
        size = int(rng.integers(0, 200))
        for one, other in zip(fast.observe(stream[at : at + size]), slow.observe(stream[at : at + size]), strict=True):
            assert np.allclose(one, other, rtol=1e-12)
        at += size
        predicted = fast.predict(), slow.predict()
        for one, other in zip(*predicted, strict=True):
            assert np.allclose(one, other, rtol=1e-12)
        assert predicted[0][0].sum() == pytest.approx(1.0, abs=1e-12)
    used, limit = fast.tables.used, counts_twin.limit(1 << slots_log2)
    assert used[: order - 1].max() <= limit


@pytest.mark.parametrize("kind", [pytest.param(counts, marks=needs_compiler), counts_twin])
@pytest.mark.parametrize(("smoothing", "strength"), SMOOTHINGS)
def test_a_probability_is_that_of_the_whole_distribution_before_the_token(kind, smoothing, strength):
    stream, state = text(400), kind.NgramCounts(4, 5, smoothing, strength, 1, 10)
    for token in stream:
        every = state.predict()
        observed = state.observe(np.array([token], dtype=np.uint16))
        assert observed[0][0] == pytest.approx(every[0][token], abs=1e-15)
        assert (every[0] > 0).all()
        assert (observed[1][0], observed[2][0]) == (every[1][0], every[2][0])


@pytest.mark.parametrize("kind", [pytest.param(counts, marks=needs_compiler), counts_twin])
def test_kneser_ney_counts_the_contexts_of_a_token_not_how_often_it_came(kind):
    """'b' follows a alone, four times; 'c' follows three different symbols, once each (Kneser & Ney 1995)."""
    a, b, c, d, e, f = range(6)
    stream = np.array([a, b, a, b, a, b, a, b, d, c, e, c, f, c], dtype=np.uint16)
    state = kind.NgramCounts(2, 7, "kneser_ney", 0.5, 1, 10)
    state.observe(stream)
    state.observe(np.array([6], dtype=np.uint16))  # a symbol that was in no context, so that the unigrams speak
    every = state.predict()[0]
    assert every[c] / every[b] == pytest.approx((3 + 1) / (1 + 1))  # the first symbol of all is counted too, as a's


def test_a_dirichlet_chain_by_hand():
    state = counts_twin.NgramCounts(3, 3, "dirichlet", 2.0, 1, 10)
    state.observe(np.array([0, 1, 0, 1, 2, 0], dtype=np.uint16))
    unigram = (2 + 1) / (6 + 3)
    bigram = (2 + 2.0 * unigram) / (2 + 2.0)  # after 0: 1 twice
    trigram = (0 + 2.0 * bigram) / (0 + 2.0)  # after 2, 0: nothing yet
    assert state.predict()[0][1] == pytest.approx(trigram)


def follow(kind, stream, length, slots_log2, size=1 << 12, seed=0):
    """Hints of every token of a stream by its last `length` tokens, in blocks of random size."""
    ring, state, rng, at, found = np.zeros(size, dtype=np.uint16), kind.HintCounts(slots_log2), None, 0, []
    rng = np.random.default_rng(seed)
    while at < len(stream):
        block = stream[at : at + int(rng.integers(1, 100))]
        places = np.arange(at, at + len(block))
        ring[places % size] = block
        lengths = np.where(places >= length, length, 0).astype(np.uint8)
        found.append(np.stack(state.follow(ring, places, lengths, block)))
        at += len(block)
    return np.concatenate(found, axis=1)


@needs_compiler
@pytest.mark.parametrize(("length", "slots_log2"), [(1, 4), (2, 10), (5, 6), (15, 12), (31, 12)])
def test_hints_in_c_are_those_in_python(length, slots_log2):
    stream = text(3000, alphabet=12)
    assert np.array_equal(follow(counts, stream, length, slots_log2), follow(counts_twin, stream, length, slots_log2))


@needs_compiler
def test_hints_are_cut_invariant_where_the_ring_forgets():
    stream = np.tile(text(700, alphabet=50), 6)
    found = [follow(counts, stream, 3, 12, size=1 << 10, seed=seed) for seed in range(3)]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    assert np.array_equal(found[0], follow(counts_twin, stream, 3, 12, size=1 << 10))


@pytest.mark.parametrize("kind", [pytest.param(counts, marks=needs_compiler), counts_twin])
def test_a_hint_is_the_most_frequent_follower_and_collisions_are_not_matches(kind):
    stream = text(2000, alphabet=4)
    hints, best, totals = follow(kind, stream, 4, 8)
    seen: dict[tuple, dict[int, int]] = {}
    for i in range(4, len(stream)):
        context, token = tuple(stream[i - 4 : i].tolist()), int(stream[i])
        known = seen.setdefault(context, {})
        if totals[i]:
            assert best[i] == max(known.values()) == known[int(hints[i])]
            assert totals[i] == sum(known.values())
        if totals[i] or not known:
            known[token] = known.get(token, 0) + 1


@needs_compiler
@pytest.mark.parametrize(
    "change",
    [
        {"ring": np.zeros(1000, np.uint16)},
        {"ring": np.zeros(1024, np.int32)},
        {"ends": np.zeros(3, np.int32)},
        {"lengths": np.array([1, 2, 32], np.uint8)},
        {"lengths": np.zeros(2, np.uint8)},
        {"nexts": np.zeros(4, np.uint16)},
        {"ring": np.zeros(2048, np.uint16)[::2]},
    ],
)
def test_what_would_leave_the_tables_is_refused(change):
    arguments = {"ring": np.zeros(1024, np.uint16), "ends": np.arange(3), "lengths": np.zeros(3, np.uint8)}
    arguments |= {"nexts": np.zeros(3, np.uint16)} | change
    with pytest.raises(ValueError, match="expected"):
        counts.HintCounts(10).follow(**arguments)


@needs_compiler
def test_arguments_cannot_say_one_thing_to_the_check_and_another_to_the_code():
    class Liar(np.ndarray):
        def max(self, *_, **__):
            return 0

    state = counts.NgramCounts(3, 7, "dirichlet", 1.0, 1, 10)
    with pytest.raises(ValueError, match="expected"):
        state.observe(np.array([6000], dtype=np.uint16).view(Liar))
    tokens = text(50)
    every = native.ngrams_follow(state.tables, 0, 1, 1.0, tokens, 0, 1 << 32)
    assert len(every[0]) == 7, "what Python takes for true is true in C as well"


@needs_compiler
def test_tables_with_any_content_are_read_within_their_bounds():
    """A caller can be changed by a proposal: random bytes as state may give nonsense, never a crash."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        state, ngrams = counts.HintCounts(6), counts.NgramCounts(9, 7, "kneser_ney", 0.5, 2, 5)
        for table in (*state.tables, *ngrams.tables):
            table.view(np.uint8)[...] = rng.integers(0, 256, table.view(np.uint8).shape, dtype=np.uint8)
        ring, ends = rng.integers(0, 9, 1024).astype(np.uint16), rng.integers(-(1 << 62), 1 << 62, 500)
        state.follow(ring, ends, rng.integers(0, 32, 500).astype(np.uint8), ring[:500].copy())
        ngrams.observe(text(300))
        ngrams.predict()
    with pytest.raises(ValueError, match="expected tokens below 7"):
        ngrams.observe(np.array([7], dtype=np.uint16))

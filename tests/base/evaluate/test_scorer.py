"""The law of a scorer, for every method: cuts and later tokens change nothing, and every prediction sums to one."""

import multiprocessing
import tempfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.scorers import METHODS, small_scorer, text  # noqa: E402

from base.evaluate.learning import online_bias  # noqa: E402
from base.runtime import Runtime  # noqa: E402

TOKENS = text(1500)


@pytest.fixture(autouse=True)
def flush_denormals(monkeypatch):
    torch.set_flush_denormal(True)
    monkeypatch.setattr(online_bias, "FIRST_TOKENS", 200)


def in_blocks(scorer, tokens, sizes) -> np.ndarray:
    scorer.reset()
    parts, at = [], 0
    for size in sizes:
        parts.append(scorer.observe(tokens[at : at + size]))
        at += size
    return np.concatenate([*parts, scorer.observe(tokens[at:])])


@pytest.mark.parametrize("size", [1, 7, 64, 4096, 65_536])
@pytest.mark.parametrize("name", METHODS)
def test_losses_do_not_depend_on_the_size_of_blocks(name, size):
    scorer, tokens = small_scorer(**METHODS[name]), TOKENS[: 400 if size == 1 else 1500]
    whole = scorer.observe(tokens)
    assert np.allclose(in_blocks(scorer, tokens, [size] * (len(tokens) // size)), whole, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_every_prediction_is_a_distribution_and_gives_the_loss_of_its_token(name):
    """Predictions at random places, one or several at once, with cuts of very different length between them."""
    scorer, rng, at = small_scorer(**METHODS[name]), np.random.default_rng(1), 0
    whole = scorer.observe(TOKENS)
    scorer.reset()
    while at < len(TOKENS):
        for _ in range(int(rng.integers(1, 3))):
            table = scorer.predict().astype(np.float64)
            assert np.exp(table).sum() == pytest.approx(1.0, abs=2e-6)
            assert -table[TOKENS[at]] == pytest.approx(whole[at], abs=1e-5)
        for size in (1, int(rng.choice([0, 1, 2, 15, 70, 300]))):
            assert np.allclose(scorer.observe(TOKENS[at : at + size]), whole[at : at + size], atol=1e-5)
            at += size


@pytest.mark.parametrize("name", METHODS)
def test_no_loss_depends_on_a_later_token_and_the_token_itself_only_picks(name):
    """Flip the tokens from a place on: losses before it stay, and so does the distribution that met the flip."""
    scorer = small_scorer(**METHODS[name])
    before = scorer.observe(TOKENS)
    for place in (300, 901):
        changed = TOKENS.copy()
        changed[place:] = (changed[place:] + 1) % 97
        scorer.reset()
        after = scorer.observe(changed)
        assert np.allclose(before[:place], after[:place], atol=1e-5)
        assert not np.allclose(before[place:], after[place:])
        tables = []
        for tokens in (TOKENS, changed):
            scorer.reset()
            scorer.observe(tokens[:place])
            tables.append(scorer.predict())
            assert scorer.observe(tokens[place : place + 1])[0] == -tables[-1][tokens[place]]
        assert np.array_equal(*tables)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "window"])
def test_it_changes_the_losses_and_a_reset_forgets_everything(name):
    scorer = small_scorer(**METHODS[name])
    first = scorer.observe(TOKENS)
    assert np.abs(first - small_scorer().observe(TOKENS)).max() > 1e-3
    scorer.reset()
    assert np.array_equal(scorer.observe(TOKENS), first)


def test_what_learns_gains_on_text_that_repeats():
    window = small_scorer().observe(TOKENS).mean()
    for name in METHODS:
        if name.startswith(("n-grams", "agreement", "neighbors", "all", "adapters")):
            assert small_scorer(**METHODS[name]).observe(TOKENS).mean() < window - 0.01, name


def test_without_evidence_the_experts_leave_the_model_alone():
    """Text that never repeats: no context is known, so every loss is the window's (techniques 8.6, the empty state)."""
    once = np.random.default_rng(0).permutation(97).astype(np.uint16)
    plain = small_scorer().observe(once)
    for name in ("agreement", "n-grams, Dirichlet", "n-grams, Witten-Bell"):
        assert np.allclose(small_scorer(**METHODS[name]).observe(once), plain, atol=1e-6), name


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"agreement": "token,words"}, "expected some of token, within_word, word_start, not"),
        ({"agreement": "token", "agreement_order": 40}, "got agreement_order 40, expected 2 to 32"),
        ({"ngram_order": 12}, "expected ngram_centers and ngram_multipliers of orders 2 to 12"),
        ({"ngram_order": 1}, "got n-grams of 1 tokens, expected 2 to 9"),
        ({"kv_bits": 1}, "got kv_bits 1, expected 0 or 2 to 8"),
        ({"ttt": "sgd", "ttt_chunk": 100}, "got ttt_chunk 100, expected a multiple of eval_length 64"),
        ({"ttt": "documents", "ttt_chunk": 100}, "got ttt_chunk 100 in documents, expected 1 to eval_length 64"),
        ({"ttt": "lora", "ttt_chunk": 64, "ttt_targets": "q,x"}, "expected some of q, k, v, out, mlp, head, not 'x'"),
    ],
)
def test_a_knob_out_of_range_is_named(knobs, message):
    with pytest.raises(ValueError, match=message):
        small_scorer(**knobs)


def rank_losses(rank: int, world: int, name: str, store: str, queue) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    online_bias.FIRST_TOKENS = 200
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    scorer = small_scorer(Runtime(rank, world, torch.device("cpu"), torch.float32), **METHODS[name])
    losses = in_blocks(scorer, TOKENS, [3, 500, 1, 130])
    table = scorer.predict()
    queue.put((rank, losses, table))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", ["online bias", "all of it", "documents with a bias", "adapters in documents, phased"])
def test_three_ranks_score_as_one_does(name):
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        queue, store = context.Queue(), f"{folder}/store"
        workers = [context.Process(target=rank_losses, args=(rank, 3, name, store, queue)) for rank in range(3)]
        for worker in workers:
            worker.start()
        found = [queue.get(timeout=120) for _ in workers]
        for worker in workers:
            worker.join(60)
    scorer = small_scorer(**METHODS[name])
    whole, table = scorer.observe(TOKENS), scorer.predict()
    for _, losses, predicted in found:
        assert np.allclose(losses, whole, atol=1e-4)
        assert np.allclose(predicted, table, atol=1e-4)

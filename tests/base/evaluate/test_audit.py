"""Every method passes the referee's own two passes, with tables full, rings overwritten and weights moving."""

import socket
import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from dataclasses import replace  # noqa: E402

from helpers.base.models import perturb  # noqa: E402
from helpers.base.scorers import METHODS, small_scorer, text, vocabulary  # noqa: E402

from base.evaluate.learning import online_bias  # noqa: E402
from base.evaluate.scorer import Scorer  # noqa: E402
from base.evaluate.serve import serve  # noqa: E402
from base.model.gpt import GPT  # noqa: E402
from base.model.layers import initialize  # noqa: E402
from base.presets import PRESETS  # noqa: E402
from base.runtime import Runtime  # noqa: E402
from preflight.scoring.audit import audit  # noqa: E402
from preflight.scoring.protocol import ScorerClient, first_pass  # noqa: E402

CPU = Runtime(0, 1, torch.device("cpu"), torch.float32)
SMALL_TABLES = {"ngram_slots": 5, "agreement_slots": 5, "knn_keys": 200}
RECIPES = ("seed_738_pocket", "seed_850_pocket", "seed_962_pocket", "seed_1302_pocket")


def both_passes(first, second, tokens, vocab_size):
    """The referee's two passes, each over a socket with a scorer of its own."""

    def session(scorer, act):
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=serve, args=(scorer, CPU, theirs))
        thread.start()
        client = ScorerClient(ours, vocab_size, 60.0)
        try:
            return act(client)
        finally:
            client.quit()
            thread.join()
            ours.close()
            theirs.close()

    rng = np.random.default_rng(3)
    losses = session(first, lambda client: first_pass(client, tokens, rng, 700))
    return losses, session(second, lambda client: audit(client, tokens, losses, rng, 60, repeat=100))


@pytest.fixture(autouse=True)
def flush_denormals(monkeypatch):
    torch.set_flush_denormal(True)
    monkeypatch.setattr(online_bias, "FIRST_TOKENS", 300)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_passes_with_its_tables_full(name):
    knobs = {**METHODS[name], **{knob: SMALL_TABLES[knob] for knob in SMALL_TABLES.keys() & METHODS[name].keys()}}
    tokens = np.concatenate([text(900, seed=1), text(500, seed=2), text(900, seed=1)])
    first, second = small_scorer(**knobs), small_scorer(**knobs)
    _, honesty = both_passes(first, second, tokens, 97)
    if first.ngrams:
        assert first.ngrams.counts.tables.used[-1] == 56, "followers are full: seven eighths of 64"
    if first.neighbors:
        assert first.neighbors.count > 200, "the ring was overwritten"
    assert honesty.gap_nats < 1e-5
    assert honesty.largest_difference_nats < 1e-4


@pytest.mark.parametrize("name", ["window", "all of it", "adapters in documents", "agreement"])
def test_a_method_passes_in_bf16(name):
    """As on a GPU, where the audit's tolerance is that of equal shapes."""
    half = replace(CPU, dtype=torch.bfloat16)
    scorers = [small_scorer(half, **METHODS[name]) for _ in range(2)]
    _, honesty = both_passes(*scorers, text(700, seed=4), 97)
    assert honesty.largest_difference_nats < 1e-3


@pytest.mark.parametrize("name", RECIPES)
def test_the_evaluation_of_a_reference_system_passes(name):
    """At pocket width with chunks so short that weights move; the claimed gains of their sources would not."""
    config = PRESETS[name]()
    short = {"ttt_chunk": 256, "eval_chunk": 256, "ngram_slots": 12, "agreement_slots": 12}
    config = replace(config, eval=replace(config.eval, **short))
    model = GPT(config)
    initialize(model, 1)
    perturb(model).set_progress(1.0)
    tokens = np.tile(text(450, seed=1, vocab_size=1024), 2)
    scorers = [Scorer(config, CPU, model.eval(), vocabulary(1024)) for _ in range(2)]
    _, honesty = both_passes(*scorers, tokens, 1024)
    assert honesty.gap_nats < 1e-5

"""Scorers for the tests: every method of evaluation at small size, on text that has something to learn."""

import numpy as np

AGREEMENT = {"agreement": "token,within_word,word_start", "agreement_slots": 12, "agreement_order": 4}
NEIGHBORS = {"knn_keys": 300, "knn_weight": 0.2, "eval_chunk": 128}
DOCUMENTS = {"ttt": "documents", "ttt_chunk": 16, "ttt_lr": 0.01, "ttt_batch": 4}
METHODS = {
    "window": {},
    "stride 24": {"eval_stride": 24},
    "attention inside documents": {"eval_documents": True},
    "keys of 4 bits": {"kv_bits": 4},
    "temperature": {"temperature": 0.9},
    "online bias": {"bias_rate": 0.1, "eval_chunk": 128},
    "n-grams, Dirichlet": {"ngram_order": 5, "ngram_slots": 12},
    "n-grams, Witten-Bell": {"ngram_order": 9, "ngram_slots": 8, "ngram_smoothing": "witten_bell"},
    "n-grams, Kneser-Ney": {
        "ngram_order": 3, "ngram_slots": 12, "ngram_smoothing": "kneser_ney", "ngram_strength": 0.7,
    },
    "agreement": AGREEMENT,
    "neighbors, constant": NEIGHBORS,
    "neighbors, entropy": {**NEIGHBORS, "knn_mixing": "entropy"},
    "neighbors, distance": {**NEIGHBORS, "knn_mixing": "distance"},
    "all weights by SGD": {"ttt": "sgd", "ttt_chunk": 256, "ttt_epochs": 2, "ttt_lr": 0.02, "ttt_horizon": 6},
    "adapters over the stream": {
        "ttt": "lora", "ttt_chunk": 128, "ttt_lr": 0.01, "ttt_targets": "q,v,head", "ttt_polyak": 0.9,
    },
    "adapters in documents": {**DOCUMENTS, "ttt_targets": "q,k,v,out,mlp,head", "ttt_epochs": 2},
    "adapters in documents, phased": {**DOCUMENTS, "ttt_phases": "3,9", "ttt_phase_lr": 0.01},
    "documents with a bias": {**DOCUMENTS, "bias_rate": 0.1, "eval_chunk": 128},
    "all of it": {
        **AGREEMENT, **NEIGHBORS, "ngram_order": 6, "ngram_slots": 12, "bias_rate": 0.1, "temperature": 0.95,
        "ttt": "sgd", "ttt_chunk": 256, "ttt_lr": 0.02,
    },
    "all of it in documents": {**AGREEMENT, **NEIGHBORS, **DOCUMENTS, "ngram_order": 6, "ngram_slots": 12},
}  # fmt: skip


def text(count: int, seed: int = 0, vocab_size: int = 97) -> np.ndarray:
    """Documents of words that come again, some of them more often, with some noise between."""
    rng = np.random.default_rng(seed)
    words = [rng.integers(2, vocab_size, rng.integers(1, 5)) for _ in range(40)]
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < count:
        if rng.random() < 0.02:
            parts.append(np.array([1]))
        parts.append(words[int(rng.zipf(1.4)) % 40] if rng.random() < 0.9 else rng.integers(2, vocab_size, 3))
    return np.concatenate(parts)[:count].astype(np.uint16)


def vocabulary(size: int = 97):
    """Half of the pieces start words, a few are punctuation, and some differ in case alone."""
    from base.evaluate.experts.agreement import Vocabulary

    initial, boundary, form = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool), np.arange(size, dtype=np.uint16)
    initial[2:50], boundary[1] = True, True
    form[0], form[90:], form[40:50] = 5, 0, form[30:40]
    return Vocabulary(initial, boundary, form)


def small_scorer(runtime=None, **knobs):
    """A scorer of the small model with these knobs of evaluation."""
    from dataclasses import replace

    import torch
    from helpers.base.models import perturbed_model, small_config

    from base.evaluate.scorer import Scorer
    from base.runtime import Runtime

    config = small_config(eval=knobs)
    if knobs.get("eval_documents"):
        config = replace(config, attention=replace(config.attention, document_attention=True))
    here = runtime or Runtime(0, 1, torch.device("cpu"), torch.float32)
    model = perturbed_model(config).eval()
    model.dtype = here.dtype
    return Scorer(config, here, model, vocabulary=vocabulary())

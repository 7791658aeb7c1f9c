"""Hints by their definitions, gates that never see the target, and tilted distributions that sum to one."""

import numpy as np
import pytest
from helpers.base.scorers import AGREEMENT, text, vocabulary

from base.evaluate.experts.agreement import WORDS, Agreement, Contexts, read_vocabulary
from base.evaluate.knobs import Eval

TOKENS = text(1200, seed=5)
VOCABULARY = vocabulary()
KNOBS = Eval(**AGREEMENT)


def contexts_by_definition(tokens):
    """Of every token: the tokens of the current word before it, and the forms of the last three words."""
    for at in range(len(tokens)):
        before = tokens[:at].tolist()
        start = next(
            (i for i in reversed(range(at)) if VOCABULARY.initial[before[i]] or VOCABULARY.boundary[before[i]]), -1
        )
        word = before[start:] if start >= 0 and VOCABULARY.initial[before[start]] else []
        kept = [token for token in before if VOCABULARY.form[token]]
        opens = [i for i, token in enumerate(kept) if VOCABULARY.initial[token] or VOCABULARY.boundary[token]]
        last = kept[opens[-WORDS] :] if len(opens) >= WORDS else []
        forms = [int(VOCABULARY.form[token]) for token in last]
        yield (word if len(word) < 32 else []), (forms if len(forms) < 32 else [])


@pytest.mark.parametrize("seed", range(3))
def test_contexts_are_those_of_the_definition_however_the_stream_is_cut(seed):
    contexts, rng, at, found = Contexts(VOCABULARY, 4, 1 << 12), np.random.default_rng(seed), 0, []
    while at < len(TOKENS):
        block = TOKENS[at : at + int(rng.integers(1, 60))]
        ends = np.arange(at, at + len(block))
        words = contexts.within_word(ends, block)
        places, forms = contexts.word_start(block)
        contexts.tokens.append(block)
        for end, word, place, length in zip(ends, words, places, forms, strict=True):
            symbols = contexts.forms.symbols[place - length : place].tolist()
            found.append((TOKENS[end - word : end].tolist(), symbols))
        at += len(block)
    assert found == list(contexts_by_definition(TOKENS))


def test_hints_belong_to_their_class_and_ignore_the_target():
    """Hints at a place are the same whatever comes there: gates read the hint and the text before it alone."""
    agreement = Agreement(KNOBS, VOCABULARY)
    hints, confidences = agreement.observe(TOKENS)
    for column, name in enumerate(agreement.names):
        named = hints[:, column][hints[:, column] >= 0]
        assert len(named) > 20, name
        assert name == "token" or (VOCABULARY.initial[named] == (name == "word_start")).all()
    assert ((confidences > 0) == (hints >= 0)).all()
    for place in (200, 700, 1100):
        for token in (1, 3, 60, 95):
            agreement.reset()
            agreement.observe(TOKENS[:place])
            predicted = agreement.predict()
            observed = agreement.observe(np.array([token], dtype=np.uint16))
            assert np.array_equal(predicted[0], observed[0])
            assert np.array_equal(predicted[0][0], hints[place])


def test_a_prediction_leaves_no_trace():
    quiet, asked = Agreement(KNOBS, VOCABULARY), Agreement(KNOBS, VOCABULARY)
    for start in range(0, len(TOKENS), 50):
        asked.predict()
        for one, other in zip(quiet.observe(TOKENS[start:][:50]), asked.observe(TOKENS[start:][:50]), strict=True):
            assert np.array_equal(one, other)


def test_a_tilted_distribution_sums_to_one_and_favors_the_hint():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(500, 97)) * 3
    logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    hints, confidences = rng.integers(-1, 97, (500, 3)), rng.random((500, 3))
    hints[::5, 1] = hints[::5, 0]
    at_hints = np.take_along_axis(logp, hints.clip(0), axis=1)
    every = np.broadcast_to(np.arange(97), logp.shape)
    tilted = Agreement(KNOBS, VOCABULARY).tilt(logp, every, hints, confidences, at_hints)
    assert np.allclose(np.exp(tilted).sum(axis=1), 1.0, atol=1e-12)
    raised = tilted > logp + 1e-12
    assert (raised.sum(axis=1) <= 1).all()
    assert raised.any(axis=1).mean() > 0.3
    assert all(np.flatnonzero(row)[0] in hint for row, hint in zip(raised, hints, strict=True) if row.any())
    target = rng.integers(0, 97, 500)[:, None]
    alone = Agreement(KNOBS, VOCABULARY).tilt(
        np.take_along_axis(logp, target, axis=1), target, hints, confidences, at_hints
    )
    assert np.allclose(alone, np.take_along_axis(tilted, target, axis=1))


def test_pieces_are_read_from_the_tokenizer(tiny_corpus):
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(tiny_corpus.tokenizer))
    read = read_vocabulary(str(tiny_corpus.tokenizer), model.get_piece_size())
    for token in range(model.get_piece_size()):
        piece = model.id_to_piece(token)
        assert read.boundary[token] == (model.is_control(token) or model.is_unknown(token) or model.is_unused(token))
        assert read.initial[token] == (piece.startswith("▁") and not read.boundary[token])
    lower = {model.id_to_piece(token): token for token in range(model.get_piece_size())}
    same = [(piece, piece.lower()) for piece in lower if piece != piece.lower() and piece.lower() in lower]
    assert all(read.form[lower[one]] == read.form[lower[other]] for one, other in same)

"""Agreement of n-grams: experts that name the token they expect, whose probability is tilted up (#1145, #1302).

token: what followed the last 15 tokens. within_word: what followed the tokens of the current word so far. word_start:
what followed the last three words, without case and punctuation. Every expert counts every token; the hint, which is
known before the token, must be a continuation within a word, and the first piece of one at a word's start. (The sources
gate these two by the class of the target, which nobody knows before it comes.)
"""

from typing import NamedTuple

import numpy as np

from base import native
from base.config import Eval
from base.evaluate.experts.counts import hint_counts

EXPERTS = ("token", "within_word", "word_start")
WORDS = 3  # of a context of word_start
SMALLEST_RING = 1 << 18  # symbols: a block may not overwrite what contexts of its tokens match
PUNCTUATION = ".,:;!?()[]{}<>\"'`"


class Vocabulary(NamedTuple):
    """What the experts know of pieces, each (V,)."""

    initial: np.ndarray  # bool: starts a word
    boundary: np.ndarray  # bool: a control token, which ends words
    form: np.ndarray  # uint16: equal for pieces that differ in case or punctuation; 0: nothing is left of it


def read_vocabulary(tokenizer: str, vocab_size: int) -> Vocabulary:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=tokenizer)
    initial, boundary = np.zeros((2, vocab_size), dtype=bool)
    form, forms = np.zeros(vocab_size, dtype=np.uint16), {"": 0}
    for token in range(min(vocab_size, model.get_piece_size())):
        piece = model.id_to_piece(token)
        boundary[token] = model.is_control(token) or model.is_unknown(token) or model.is_unused(token)
        initial[token] = piece.startswith("▁") and not boundary[token]
        left = piece.removeprefix("▁").lower()
        left = left if model.is_byte(token) or boundary[token] else left.strip(PUNCTUATION)
        mark = "▁" if initial[token] and left else ""
        form[token] = forms.setdefault(mark + left, len(forms))
    return Vocabulary(initial, boundary, form)


class Ring:
    """The last symbols of a stream; symbol i is at i modulo its size."""

    def __init__(self, size: int):
        self.symbols, self.count = np.full(size, 0, dtype=np.uint16), 0  # all of its memory at once

    def append(self, symbols: np.ndarray) -> None:
        self.symbols[np.arange(self.count, self.count + len(symbols)) % len(self.symbols)] = symbols
        self.count += len(symbols)


class Contexts:
    """Where each expert's context begins and ends, for every token of a stream."""

    def __init__(self, vocabulary: Vocabulary, order: int, ring_size: int):
        self.vocabulary, self.length = vocabulary, order - 1
        if not 1 <= self.length <= native.LONGEST_CONTEXT:
            raise ValueError(f"got agreement_order {order}, expected 2 to {native.LONGEST_CONTEXT + 1}")
        self.tokens, self.forms = Ring(ring_size), Ring(ring_size)
        self.word = -1  # where the current word starts among the tokens; -1: not in one
        self.starts = np.zeros(0, dtype=np.int64)  # of the last words, among the forms

    def token(self, ends: np.ndarray) -> np.ndarray:
        return np.where(ends >= self.length, self.length, 0)

    def within_word(self, ends: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Lengths of the contexts before `tokens`; moves on to the word after them."""
        places = np.where(self.vocabulary.initial[tokens], ends, np.where(self.vocabulary.boundary[tokens], -1, -2))
        latest = np.maximum.accumulate(np.where(places != -2, np.arange(len(ends)), -1))
        words = np.where(latest >= 0, places[latest], self.word)  # after each token
        before, self.word = np.append(self.word, words[:-1]), int(words[-1])
        return bounded(np.where(before >= 0, ends - before, 0))

    def word_start(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ends and lengths of the contexts before `tokens` among the forms, to which it adds theirs."""
        forms, count = self.vocabulary.form[tokens], self.forms.count
        kept = forms > 0
        ends = count + np.cumsum(kept) - kept
        opens = kept & (self.vocabulary.initial[tokens] | self.vocabulary.boundary[tokens])
        known = np.append(self.starts, ends[opens])
        words = len(self.starts) + np.cumsum(opens) - opens  # words begun before each token
        starts = (
            np.where(words >= WORDS, known[np.maximum(words - WORDS, 0)], -1) if len(known) else np.full(len(ends), -1)
        )
        self.forms.append(forms[kept])
        self.starts = known[-WORDS:]
        return ends, bounded(np.where(starts >= 0, ends - starts, 0))


def bounded(lengths: np.ndarray) -> np.ndarray:
    """Contexts that are too long are none."""
    return np.where(lengths <= native.LONGEST_CONTEXT, lengths, 0)


class Agreement:
    """Hints for each token, and the tilt that they give to a model's distribution."""

    def __init__(self, knobs: Eval, vocabulary: Vocabulary):
        self.names = [name.strip() for name in knobs.agreement.split(",")]
        if unknown := set(self.names) - set(EXPERTS):
            raise ValueError(f"got agreement {knobs.agreement!r}: expected some of {', '.join(EXPERTS)}, not {unknown}")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"got agreement {knobs.agreement!r}: expected each expert once")
        chosen = [EXPERTS.index(name) for name in self.names]
        gates, boosts = (
            np.array(list(map(float, text.split(",")))) for text in (knobs.agreement_gates, knobs.agreement_boosts)
        )
        self.gates, self.boosts = gates[chosen], boosts[chosen]
        self.knobs, self.vocabulary = knobs, vocabulary
        self.reset()

    def reset(self) -> None:
        slots = self.knobs.agreement_slots
        self.contexts = Contexts(self.vocabulary, self.knobs.agreement_order, max(1 << slots, SMALLEST_RING))
        self.counts = {name: hint_counts(slots) for name in self.names}

    def observe(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Hints (n, E) of each token given those before it, -1 for none, and confidences; then count the tokens."""
        return self.look_up(tokens.astype(np.uint16), count=True)

    def predict(self) -> tuple[np.ndarray, np.ndarray]:
        """Hints (1, E) of the next token."""
        return self.look_up(np.zeros(1, dtype=np.uint16), count=False)

    def look_up(self, tokens: np.ndarray, count: bool) -> tuple[np.ndarray, np.ndarray]:
        contexts = self.contexts
        before = contexts.word, contexts.starts, contexts.forms.count, contexts.tokens.count
        ends = np.arange(contexts.tokens.count, contexts.tokens.count + len(tokens))
        found = {
            "token": (contexts.tokens, ends, contexts.token(ends)),
            "within_word": (contexts.tokens, ends, contexts.within_word(ends, tokens)),
            "word_start": (contexts.forms, *contexts.word_start(tokens)),
        }
        contexts.tokens.append(tokens)
        hints, confidences = np.full((len(tokens), len(self.names)), -1), np.zeros((len(tokens), len(self.names)))
        for i, name in enumerate(self.names):
            ring, places, lengths = found[name]
            nexts = tokens if count else None
            hint, best, total = self.counts[name].follow(ring.symbols, places, lengths.astype(np.uint8), nexts)
            confidence = best / np.maximum(total, 1)
            passes = (hint >= 0) & (confidence >= self.gates[i]) & (total >= self.knobs.agreement_least)
            if name != "token":
                passes &= self.vocabulary.initial[hint] == (name == "word_start")
                passes &= ~self.vocabulary.boundary[hint]
            hints[:, i], confidences[:, i] = np.where(passes, hint, -1), np.where(passes, confidence, 0.0)
        if not count:
            contexts.word, contexts.starts, contexts.forms.count, contexts.tokens.count = before
        return hints, confidences

    def tilt(self, logp, candidates, hints, confidences, at_hints):
        """Tilt logp (n, K) of `candidates` (n, K): one token's odds against all others grow by e^boost.

        p'(h) = e^b p(h) / Z, p'(v) = p(v) / Z, Z = 1 + p(h) (e^b - 1), which sums to one. The expert whose hint is
        expected to gain most is chosen, if that is more than nothing: confidence b - ln Z.

        Args:
            hints, confidences: (n, E), as `observe` gives them.
            at_hints: The model's own log-probabilities of the hints (n, E).
        """
        gains = confidences * self.boosts - np.log1p(np.exp(at_hints) * np.expm1(self.boosts))
        gains = np.where(hints >= 0, gains, -np.inf)
        best, rows = gains.argmax(axis=1), np.arange(len(hints))
        hint = hints[rows, best]
        agreeing = (hints == hint[:, None]).sum(axis=1) >= 2
        boost = self.boosts[best] + self.knobs.agreement_bonus * agreeing
        boost = np.where(gains[rows, best] > 0.0, boost, 0.0)
        normalizer = np.log1p(np.exp(at_hints[rows, best]) * np.expm1(boost))
        return logp + boost[:, None] * (candidates == hint[:, None]) - normalizer[:, None]

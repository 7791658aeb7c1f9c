"""The counts of base/evaluate/experts/counts.py in plain Python, for machines without a C compiler."""

from collections import Counter, defaultdict

import numpy as np

MAX_PAIRS = (1 << 21) - 1
MAX_CONTEXT = 8


def limit(slots: int) -> int:
    return slots - 1 - (slots - 1) // 8


class Followers:
    """What followed one context, the best of it, and where the context ended last."""

    def __init__(self, best: int):
        self.counts, self.best, self.total, self.end = Counter({best: 1}), best, 1, 0
        self.stored: set[int] = set()  # tokens that take room in the table of pairs


class HintCounts:
    """See counts.HintCounts."""

    def __init__(self, slots_log2: int):
        self.contexts: dict[tuple, Followers] = {}
        self.context_limit, self.pair_limit = limit(1 << slots_log2), limit(1 << max(slots_log2 - 2, 10))
        self.context_count, self.pairs = 0, 0

    def follow(self, ring, ends, lengths, nexts):
        hints, best_counts, totals = np.full(len(ends), -1, np.int32), *np.zeros((2, len(ends)), np.uint32)
        for i, (end, length) in enumerate(zip(ends.tolist(), lengths.tolist(), strict=True)):
            if not length:
                continue
            context = tuple(ring[np.arange(end - length, end) % len(ring)].tolist())
            known = self.contexts.get(context)
            if known and end - known.end > (len(ring) - 1) // 2:  # the ring no longer holds it
                known = None
            if known:
                hints[i], best_counts[i], totals[i] = known.best, known.counts[known.best], known.total
            if nexts is not None:
                self.count(context, known, int(nexts[i]), end)
        return hints, best_counts, totals

    def count(self, context: tuple, known: Followers | None, token: int, end: int) -> None:
        if known is None:
            if self.context_count < self.context_limit:
                self.context_count += 1
                self.contexts[context] = Followers(token)
                self.contexts[context].end = end
            return
        known.end = end
        if token == known.best:
            if known.counts[token] < MAX_PAIRS:
                known.counts[token] += 1
                known.total += 1
        elif self.store(known, token) and known.counts[token] < MAX_PAIRS:
            known.counts[token] += 1
            known.total += 1
            if known.counts[token] > known.counts[known.best] and self.store(known, known.best):
                known.best = token

    def store(self, known: Followers, token: int) -> bool:
        """Return True if there is room for the pair."""
        if token not in known.stored and self.pairs < self.pair_limit:
            known.stored.add(token)
            self.pairs += 1
        return token in known.stored


class NgramCounts:
    """See counts.NgramCounts."""

    def __init__(self, order: int, vocab_size: int, smoothing: str, strength: float, least: int, slots_log2: int):
        if not 2 <= order <= MAX_CONTEXT + 1:
            raise ValueError(f"got n-grams of {order} tokens, expected 2 to {MAX_CONTEXT + 1}")
        if least < 1:
            raise ValueError(f"expected a context to have come at least once, got {least}")
        self.order, self.vocab_size, self.smoothing = order, vocab_size, smoothing
        self.strength, self.least = strength, least
        self.counts: list[dict[tuple, Counter]] = [defaultdict(Counter) for _ in range(order)]
        self.totals: list[Counter] = [Counter() for _ in range(order)]
        self.gram_limit, self.follower_limit, self.followers = limit(1 << slots_log2), limit(2 << slots_log2), 0
        self.context: tuple[int, ...] = ()

    def observe(self, tokens):
        found = []
        for token in tokens.tolist():
            found.append((self.probabilities(np.array([token]))[0], *self.evidence()))
            self.count(token)
            self.context = (*self.context, token)[-MAX_CONTEXT:]
        probabilities, evidence, totals = zip(*found, strict=True) if found else ((), (), ())
        return np.array(probabilities), np.array(evidence, np.uint8), np.array(totals, np.uint32)

    def predict(self):
        order, total = self.evidence()
        every = self.probabilities(np.arange(self.vocab_size))
        return every, np.array([order], np.uint8), np.array([total], np.uint32)

    def contexts(self) -> list[tuple[int, ...]]:
        """The last 0, 1, 2, ... tokens, as far as there are so many."""
        return [self.context[len(self.context) - n :] for n in range(min(self.order, len(self.context) + 1))]

    def evidence(self) -> tuple[int, int]:
        for n, context in reversed(list(enumerate(self.contexts()))[1:]):
            if self.totals[n][context] >= self.least and self.totals[n][context]:
                return n + 1, self.totals[n][context]
        return 0, 0

    def probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """Probabilities (n,) of tokens after the stream so far."""
        unigrams = self.counts[0][()]
        p = (np.array([unigrams[token] for token in tokens.tolist()]) + 1.0) / (self.totals[0][()] + self.vocab_size)
        for n, context in list(enumerate(self.contexts()))[1:]:
            total = self.totals[n][context]
            if not total:
                continue
            followers = self.counts[n][context]
            counts, types = np.array([followers[token] for token in tokens.tolist()], float), len(followers)
            if self.smoothing == "dirichlet":
                p = (counts + self.strength * p) / (total + self.strength)
            elif self.smoothing == "witten_bell":
                p = (counts + types * p) / (total + types)
            else:
                p = (np.maximum(counts - self.strength, 0.0) + self.strength * types * p) / total
        return p

    def count(self, token: int) -> None:
        for n, context in reversed(list(enumerate(self.contexts()))):
            new = n and token not in self.counts[n].get(context, ())
            if n and not self.totals[n][context] and len(self.counts[n]) >= self.gram_limit:
                continue
            if new and self.followers >= self.follower_limit:
                continue
            self.followers += bool(new)
            self.counts[n][context][token] += 1
            self.totals[n][context] += 1
            if self.smoothing == "kneser_ney" and n and not new:
                return

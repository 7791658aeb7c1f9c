"""The scorer: the model's distribution, calibrated, tilted by hints, mixed with n-grams and neighbors, in this order.

The law (the scoring protocol): a token's loss depends on the tokens before it alone, every distribution sums to one,
and cutting the stream differently changes nothing. What an expert counts token by token it looks up first; what learns
from text does so after whole chunks at fixed places of the stream, all of which are scored. Position p predicts token
p + 1; the first token is predicted by nobody and costs ln V.
"""

import math

import numpy as np
import torch
from torch import Tensor

from base.config import Config
from base.evaluate.experts.agreement import Agreement, Vocabulary
from base.evaluate.experts.neighbors import Neighbors
from base.evaluate.experts.ngrams import NgramMixture
from base.evaluate.kv_cache import quantize_keys
from base.evaluate.learning.documents import DocumentReader
from base.evaluate.learning.online_bias import OnlineBias
from base.evaluate.learning.stream import StreamLearner
from base.evaluate.text import Text
from base.evaluate.window import WindowReader
from base.model.gpt import GPT
from base.runtime import Runtime

LONGEST_SEGMENT = 1 << 16  # tokens scored at once, whatever the block


class Scorer:
    """observe(tokens) -> losses in nats; predict() -> log-probabilities of the next token, over the vocabulary."""

    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        model: GPT,
        vocabulary: Vocabulary | None = None,
        compiled: bool = False,
    ):
        knobs = self.knobs = config.eval
        self.runtime, self.model, self.vocab_size = runtime, model, config.model.vocab_size
        self.text = Text(max(knobs.eval_length + knobs.ttt_chunk, knobs.eval_chunk + 1))
        if knobs.kv_bits:
            quantize_keys(model, knobs.kv_bits)
        self.learner = None
        if knobs.ttt == "documents":
            self.reader = DocumentReader(knobs, runtime, model, self.text)
        else:
            self.reader = WindowReader(knobs, runtime, model, self.text, compiled)
            if knobs.ttt != "none":
                self.learner = StreamLearner(knobs, runtime, model, self.text)
        self.bias = OnlineBias(knobs.bias_rate, self.vocab_size, runtime) if knobs.bias_rate else None
        self.agreement = Agreement(knobs, vocabulary) if knobs.agreement else None
        self.ngrams = NgramMixture(knobs, self.vocab_size) if knobs.ngram_order else None
        dim, device = config.model.model_dim, runtime.device
        self.neighbors = Neighbors(knobs, self.vocab_size, dim, runtime.dtype, device) if knobs.knn_keys else None
        self.learners = []  # what learns after whole chunks, by the chunk's length
        if self.bias or self.neighbors:
            self.learners.append((knobs.eval_chunk, self.learn_chunk))
        if self.learner:
            self.learners.append((self.learner.chunk, self.learn_weights))
        self.reset()

    def reset(self) -> None:
        for part in (self.learner, self.bias, self.agreement, self.ngrams, self.neighbors, self.reader):
            if part is not None:
                part.reset()
        self.text.reset()
        self.predicted: np.ndarray | None = None  # the last answer of predict(), if no token came since
        self.hidden: list[Tensor] = []  # of the chunk's positions so far, for the neighbors

    @torch.no_grad()
    def observe(self, tokens: np.ndarray) -> np.ndarray:
        """Losses of `tokens` (n,), each given every earlier token of the stream; they then join the stream."""
        losses, at = [np.zeros(0, dtype=np.float32)], 0
        while at < len(tokens):
            position = max(self.text.seen - 1, 0)
            count = min(self.next_boundary(position) - position, LONGEST_SEGMENT) if self.text.seen else 1
            losses.append(self.score(tokens[at : at + count]))
            at += count
            self.learn()
        return np.concatenate(losses)

    def next_boundary(self, position: int) -> int:
        """The first place after `position` at which something learns."""
        ends = [(position // length + 1) * length for length, _ in self.learners]
        return min(ends, default=position + LONGEST_SEGMENT)

    def learn(self) -> None:
        """Let every method whose chunk ends here learn from it: all positions before the last token are scored."""
        position = self.text.seen - 1
        for length, learn in self.learners:
            if position and position % length == 0:
                learn(position)

    def learn_chunk(self, end: int) -> None:
        tokens = torch.from_numpy(self.text[end - self.knobs.eval_chunk + 1 : end + 1].copy()).to(self.runtime.device)
        if self.bias:
            self.bias.update(tokens)
        if self.neighbors:
            self.neighbors.add(torch.cat(self.hidden), tokens)
            self.hidden = []

    def learn_weights(self, end: int) -> None:
        self.learner.update(end)
        self.reader.forget()

    def score(self, tokens: np.ndarray) -> np.ndarray:
        """Losses of the next tokens, between which nothing learns but the counts."""
        first, predicted = self.text.seen, self.predicted
        self.predicted = None
        hints = self.agreement.observe(tokens) if self.agreement else None
        ngrams = self.ngrams.observe(tokens) if self.ngrams else None
        self.text.append(tokens)
        if not first:
            return np.full(len(tokens), math.log(self.vocab_size), dtype=np.float32)
        targets = torch.from_numpy(tokens.astype(np.int64)).to(self.runtime.device)
        columns = self.read(first - 1, targets, hints)
        if predicted is not None and len(tokens) == 1:
            return -predicted[tokens.astype(np.int64)]
        at_hints = columns["hints"] if hints else None
        neighbors = (columns["knn"][:, :1], columns["knn"][:, 1]) if self.neighbors else None
        candidates = tokens.astype(np.int64)[:, None]
        logp = self.combine(columns["target"], candidates, columns["entropy"][:, 0], hints, at_hints, ngrams, neighbors)
        return (-logp[:, 0]).astype(np.float32)

    def read(self, first: int, targets: Tensor, hints) -> dict[str, np.ndarray]:
        """What `combine` needs to know of positions from `first`, whose next tokens are `targets`; (n, *) by name."""
        dim = self.model.embedding.size(1) if self.neighbors else 0
        known = (
            torch.from_numpy(hints[0].clip(0)).to(self.runtime.device) if hints else targets.new_zeros(len(targets), 0)
        )
        widths = {"target": 1, "entropy": 1, "hints": known.size(1), "knn": 2 * bool(self.neighbors), "hidden": dim}

        def measure(logits: Tensor, hidden: Tensor, positions: Tensor) -> Tensor:
            logp, rows = self.calibrated(logits), positions - first
            if self.bias:
                self.bias.expect(logp)
            parts = [logp.gather(1, targets[rows, None]), entropy_of(logp), logp.gather(1, known[rows])]
            if self.neighbors:
                parts += [self.neighbors.probabilities(hidden, targets[rows]), hidden.float()]
            return torch.cat(parts, dim=1)

        numbers = self.reader.read(first, first + len(targets), measure)
        split = dict(zip(widths, numbers.split(list(widths.values()), dim=1), strict=True))
        if self.neighbors:
            self.hidden.append(split.pop("hidden").to(self.neighbors.keys.dtype))
        return {name: part.double().cpu().numpy() for name, part in split.items()}

    @torch.no_grad()
    def predict(self) -> np.ndarray:
        """Log-probabilities (V,) of the token after the stream; uniform before the first token."""
        if not self.text.seen:
            return np.full(self.vocab_size, -math.log(self.vocab_size), dtype=np.float32)
        if self.predicted is None:
            logits, hidden = self.reader.row(self.text.seen - 1)
            logp = self.calibrated(logits)
            entropy, every = entropy_of(logp)[:, 0].double().cpu().numpy(), logp.double().cpu().numpy()
            hints = self.agreement.predict() if self.agreement else None
            at_hints = np.take_along_axis(every, hints[0].clip(0), axis=1) if hints else None
            ngrams = self.ngrams.predict() if self.ngrams else None
            neighbors = self.neighbors.distribution(hidden) if self.neighbors else None
            candidates = np.arange(self.vocab_size)[None]
            found = self.combine(every, candidates, entropy, hints, at_hints, ngrams, neighbors)
            self.predicted = found[0].astype(np.float32)
        return self.predicted.copy()

    def calibrated(self, logits: Tensor) -> Tensor:
        """Log-probabilities (n, V) of the model by itself."""
        if self.bias:
            logits = logits + self.bias.bias
        return (logits if self.knobs.temperature == 1.0 else logits / self.knobs.temperature).log_softmax(dim=-1)

    def combine(self, logp, candidates, entropy, hints, at_hints, ngrams, neighbors):
        """Log-probabilities (n, K) of `candidates` (n, K) by the model and every expert, in float64.

        A position's whole distribution is fixed by its evidence; which candidates are asked for changes nothing.
        """
        if hints:
            logp = self.agreement.tilt(logp, candidates, *hints, at_hints)
        if ngrams:
            logp = self.ngrams.mix(logp, *ngrams, entropy)
        if neighbors:
            logp = self.neighbors.mix(logp, *neighbors, entropy)
        return logp


def entropy_of(logp: Tensor) -> Tensor:
    """Entropy in nats (n, 1) of log-probabilities (n, V)."""
    return -(logp.exp() * logp).sum(dim=1, keepdim=True)

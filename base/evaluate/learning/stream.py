"""Test-time training over the stream, score first: each chunk is scored, then learnt from (#549, #850).

What is trained is all weights by SGD, or one set of adapters by AdamW.
"""

import torch
from torch import Tensor

from base.config import Eval
from base.evaluate.learning.adapters import Adapters
from base.evaluate.learning.optimizers import SGD, RowAdamW, cosine
from base.evaluate.text import Text
from base.model.gpt import GPT
from base.runtime import Runtime

BETA1 = 0.9


class StreamLearner:
    """`update` after each chunk of `chunk` positions; `reset` gives back the weights of the artifact."""

    def __init__(self, knobs: Eval, runtime: Runtime, model: GPT, text: Text):
        self.knobs, self.runtime, self.model, self.text, self.chunk = knobs, runtime, model, text, knobs.ttt_chunk
        if self.chunk % knobs.eval_length:
            raise ValueError(f"got ttt_chunk {self.chunk}, expected a multiple of eval_length {knobs.eval_length}")
        self.weights = WholeModel(knobs, model) if knobs.ttt == "sgd" else StreamAdapters(knobs, model)
        self.chunks = 0

    def reset(self) -> None:
        self.weights.reset()
        self.chunks = 0

    def update(self, end: int) -> None:
        """Learn from the `chunk` positions before `end`, all of which are scored."""
        knobs, rate = self.knobs, self.knobs.ttt_lr * cosine(self.chunks, self.knobs.ttt_horizon)
        tokens = torch.from_numpy(self.text[end - self.chunk : end + 1].copy()).to(self.runtime.device)
        self.weights.start()
        for _ in range(knobs.ttt_epochs):
            train_pass(self.model, self.runtime, tokens, knobs.eval_length, knobs.ttt_batch, self.weights, rate)
        self.weights.finish()
        self.chunks += 1


def train_pass(model: GPT, runtime: Runtime, tokens: Tensor, length: int, batch: int, weights, rate) -> None:
    """One pass over tokens (n,) in sequences of at most `length`, `batch` of them a step, divided among the ranks.

    `rate` is a number, or a function of the share of steps done.
    """
    count = len(tokens) - 1
    starts = list(range(0, count, length))
    for first in range(0, len(starts), batch):
        rows = starts[first : first + batch]
        total = min(rows[-1] + length, count) - rows[0]
        gradients = [torch.zeros_like(weight) for weight in weights.parameters]
        for group in by_length(rows[runtime.rank :: runtime.world], length, count):
            with torch.enable_grad():
                inputs = torch.stack([tokens[start:end] for start, end in group])
                targets = torch.stack([tokens[start + 1 : end + 1] for start, end in group])
                hidden = model.hidden(inputs)
                logits = model.logits(hidden).flatten(0, 1)
                loss = torch.nn.functional.cross_entropy(logits, targets.flatten(), reduction="sum") / total
                found = torch.autograd.grad(loss, weights.parameters, allow_unused=True)
            for gradient, part in zip(gradients, found, strict=True):
                if part is not None:
                    gradient += part
        for gradient in gradients:
            runtime.all_reduce_(gradient)
        weights.step(gradients, rate(first / len(starts)) if callable(rate) else rate)


def by_length(starts: list[int], length: int, count: int) -> list[list[tuple[int, int]]]:
    """Ends of the sequences that begin at `starts`; a last, shorter one is a group of its own."""
    whole = [(start, start + length) for start in starts if start + length <= count]
    rest = [[(start, count)] for start in starts if start + length > count]
    return [group for group in (whole, *rest) if group]


class WholeModel:
    """All weights of a model under SGD."""

    def __init__(self, knobs: Eval, model: GPT):
        self.parameters = list(model.parameters())
        self.before = [weight.detach().clone() for weight in self.parameters]
        self.optimizer = SGD(self.parameters, knobs.ttt_momentum, knobs.ttt_clip)

    @torch.no_grad()
    def reset(self) -> None:
        for weight, before in zip(self.parameters, self.before, strict=True):
            weight.copy_(before)
        self.optimizer.reset()

    def start(self) -> None:
        pass

    def step(self, gradients: list[Tensor], lr: float) -> None:
        self.optimizer.step(gradients, lr)

    def finish(self) -> None:
        pass


class StreamAdapters:
    """One set of adapters under AdamW; with Polyak averaging the mean over steps is what scores."""

    def __init__(self, knobs: Eval, model: GPT):
        self.adapters = Adapters(model, knobs.ttt_targets, knobs.ttt_layers, 1, knobs.ttt_rank, knobs.ttt_scale)
        self.parameters, self.decay = self.adapters.parameters, knobs.ttt_polyak
        betas = (BETA1, knobs.ttt_beta2)
        self.optimizer = RowAdamW(self.parameters, betas, knobs.ttt_weight_decay, knobs.ttt_clip)
        self.means = [weight.detach().clone() for weight in self.parameters]

    @torch.no_grad()
    def reset(self) -> None:
        self.adapters.reset(slice(None))
        self.optimizer.reset(slice(None))
        for mean, weight in zip(self.means, self.parameters, strict=True):
            mean.copy_(weight)

    def start(self) -> None:
        self.adapters.activate(self.parameters)

    @torch.no_grad()
    def step(self, gradients: list[Tensor], lr: float) -> None:
        self.optimizer.step(gradients, torch.full((1,), lr, device=gradients[0].device))
        for mean, weight in zip(self.means, self.parameters, strict=True):
            mean.lerp_(weight, 1.0 - self.decay)

    def finish(self) -> None:
        self.adapters.activate(self.means)

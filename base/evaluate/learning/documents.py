"""Test-time training in documents, score first: adapters learn afresh in each document, many documents at once.

A document is a BOS and what follows it; its last position predicts the next BOS. It is read in chunks of `ttt_chunk`
positions: a chunk is scored through a window that ends with it and does not leave the document, then the same pass
gives the gradient of one step (#1855). In the phased form all weights learn from the
documents scored so far after so many of them; those records ordered documents by length, here they come as they come.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from base.config import Eval
from base.evaluate.learning.adapters import Adapters
from base.evaluate.learning.optimizers import RowAdamW, cosine
from base.evaluate.learning.stream import WholeModel, train_pass
from base.evaluate.text import Text
from base.evaluate.window import Measure
from base.model.attention.document_mask import BOS
from base.model.gpt import GPT
from base.runtime import Runtime

PHASE_SEQUENCES = 16  # of one step of a phase


@dataclass
class Document:
    """A document in work: positions `first` to before `last` of it are wanted, from its start on."""

    start: int
    first: int
    last: int
    state: list[Tensor] | None = field(default=None, repr=False)  # adapters and optimizer, where it is continued


class DocumentReader:
    """Logits of positions by the adapters of their documents; the interface of WindowReader."""

    def __init__(self, knobs: Eval, runtime: Runtime, model: GPT, text: Text):
        self.knobs, self.runtime, self.model, self.text = knobs, runtime, model, text
        self.length, self.chunk, self.rows = knobs.eval_length, knobs.ttt_chunk, knobs.ttt_batch
        if not 0 < self.chunk <= self.length:
            raise ValueError(f"got ttt_chunk {self.chunk} in documents, expected 1 to eval_length {self.length}")
        self.phases = sorted(int(count) for count in filter(None, knobs.ttt_phases.split(",")))
        self.whole = WholeModel(knobs, model) if self.phases else None  # before the adapters: they are not of it
        self.adapters = Adapters(model, knobs.ttt_targets, knobs.ttt_layers, self.rows, knobs.ttt_rank, knobs.ttt_scale)
        betas = (0.0, knobs.ttt_beta2)
        self.optimizer = RowAdamW(self.adapters.parameters, betas, knobs.ttt_weight_decay, knobs.ttt_clip)
        self.reset()

    def reset(self) -> None:
        if self.whole:
            self.whole.reset()
        self.open = Document(0, 0, 0)
        self.finished, self.scored = 0, array("H")  # documents, and the tokens of those that a phase will learn from
        self.saved_row: tuple[int, Tensor, Tensor] | None = None

    def read(self, first: int, last: int, measure: Measure) -> Tensor:
        """Numbers (last - first, F) of positions from `first` to before `last`, the same on every rank."""
        parts = []
        for documents in self.between_phases(first, last):
            parts.append(self.read_documents(documents, measure))
            self.close(documents)
        return torch.cat(parts)

    def row(self, position: int) -> tuple[Tensor, Tensor]:
        """Logits (1, V) and hidden state (1, D) of the last known position, computed by every rank for itself."""
        if self.saved_row is None or self.saved_row[0] != position:
            document = self.open
            if int(self.text[position : position + 1][0]) == BOS:
                document = Document(position, position, position + 1)
            self.load(0, document)
            chunk = (position - document.start) // self.chunk
            found = []
            self.forward({0: document}, chunks={0: chunk}, known=position + 1, measure=lambda *of: found.append(of))
            logits, hidden, _ = found[0]
            self.saved_row = position, logits[-1:], hidden[-1:]
        return self.saved_row[1:]

    def between_phases(self, first: int, last: int) -> Iterator[list[Document]]:
        """The documents that hold these positions, cut after those that end a phase."""
        tokens = self.text[first:last]
        starts = [first + int(place) for place in np.flatnonzero(tokens == BOS)]
        pieces, ends = [], [*starts, last]
        if not starts or starts[0] > first:
            pieces.append(Document(self.open.start, first, ends[0], self.open.state))
        pieces += [Document(start, start, end) for start, end in zip(starts, ends[1:], strict=True)]
        run: list[Document] = []
        ended = self.finished
        for piece in pieces:
            run.append(piece)
            ended += self.ends(piece)
            if self.ends(piece) and ended in self.phases:
                yield run
                run = []
        if run:
            yield run

    def ends(self, document: Document) -> bool:
        """Whether the token after the document's last position opens another one."""
        return int(self.text[document.last : document.last + 1][0]) == BOS

    def close(self, documents: list[Document]) -> None:
        """Note which documents ended, and learn from all of them where a phase ends."""
        self.open = documents[-1]
        for document in documents:
            if self.whole and self.finished < self.phases[-1]:
                self.scored.extend(self.text[document.first : document.last].tolist())
            if self.ends(document):
                self.finished += 1
        if self.finished in self.phases and self.ends(documents[-1]):
            self.learn_phase()
            self.open = Document(documents[-1].last, documents[-1].last, documents[-1].last)
        self.saved_row = None

    def learn_phase(self) -> None:
        """One pass over every document scored so far, all weights, lr along a cosine to 0."""
        tokens = torch.from_numpy(np.array(self.scored, dtype=np.int64)).to(self.runtime.device)
        if self.finished == self.phases[-1]:
            self.scored = array("H")
        self.adapters.activate([torch.zeros_like(weight[:1]) for weight in self.adapters.parameters])
        self.whole.optimizer.reset()

        def rate(share: float) -> float:
            return self.knobs.ttt_phase_lr * cosine(int(1000 * share), 1000)

        train_pass(self.model, self.runtime, tokens, self.length, PHASE_SEQUENCES, self.whole, rate)
        self.adapters.activate(self.adapters.parameters)

    def read_documents(self, documents: list[Document], measure: Measure) -> Tensor:
        """Numbers of consecutive documents; each rank reads its share, the longest first."""
        first, last = documents[0].first, documents[-1].last
        order = sorted(range(len(documents)), key=lambda i: documents[i].first - documents[i].last)
        own = [documents[i] for i in order[self.runtime.rank :: self.runtime.world]]
        collected: list[tuple[Tensor, Tensor]] = []

        def collect(logits: Tensor, hidden: Tensor, positions: Tensor) -> None:
            collected.append((positions, measure(logits, hidden, positions)))

        self.run(own, collect)
        if not collected:  # another rank's documents; a token of which nothing is wanted gives the width
            self.load(0, Document(0, 0, 0))
            self.forward({0: Document(first, first + 1, first + 1)}, {0: 0}, first + 1, collect)
        found = collected[0][1].new_zeros(last - first, collected[0][1].size(1))
        for positions, numbers in collected:
            found[positions - first] = numbers
        self.share_state(documents[-1], order.index(len(documents) - 1) % self.runtime.world)
        return self.runtime.all_reduce_(found)

    def share_state(self, document: Document, owner: int) -> None:
        """Give every rank the state of the document that the next block continues."""
        if document.state is None:
            self.load(0, Document(0, 0, 0))
            document.state = [tensor.clone() for tensor in self.state_of(0)]
        if self.runtime.world > 1:
            for tensor in document.state:
                if self.runtime.rank != owner:
                    tensor.zero_()
                self.runtime.all_reduce_(tensor)

    def run(self, documents: list[Document], measure: Measure) -> None:
        """Read documents side by side, one row of the batch for each; a row that ends takes the next."""
        waiting, active = list(reversed(documents)), {}
        chunks: dict[int, int] = {}
        while waiting or active:
            for row in [row for row in range(self.rows) if row not in active][: len(waiting)]:
                document = active[row] = waiting.pop()
                self.load(row, document)
                chunks[row] = (document.first - document.start) // self.chunk
            self.forward(active, chunks, None, measure)
            for row, document in list(active.items()):
                chunks[row] += 1
                if document.start + chunks[row] * self.chunk >= document.last:
                    document.state = None if self.ends(document) else [tensor.clone() for tensor in self.state_of(row)]
                    del active[row]

    def forward(self, active: dict[int, Document], chunks: dict[int, int], known: int | None, measure: Measure) -> None:
        """Score one chunk of each document, as far as tokens are `known`; learn from those that are whole and go on."""
        rows = sorted(active)
        begins = [active[row].start + chunks[row] * self.chunk for row in rows]
        ends = [begin + self.chunk for begin in begins]
        stops = [min(end, known or active[row].last) for row, end in zip(rows, ends, strict=True)]
        windows = [max(active[row].start, end - self.length) for row, end in zip(rows, ends, strict=True)]
        width = max(stop - window for stop, window in zip(stops, windows, strict=True))
        if self.runtime.dtype != torch.float32:  # in bf16 another shape rounds otherwise, by more than an audit takes
            width = self.length
        device = self.runtime.device
        texts = [self.text[window:stop] for window, stop in zip(windows, stops, strict=True)]
        tokens = torch.from_numpy(np.stack([np.pad(text, (0, width - len(text))) for text in texts])).to(device)
        places = torch.arange(self.chunk, device=device)
        positions = torch.tensor(begins, device=device)[:, None] + places  # (b, C)
        offsets = (positions - torch.tensor(windows, device=device)[:, None]).clamp_max(width - 1)
        goes_on = [
            known is None and stop == end and not (active[row].last == end and self.ends(active[row]))
            for row, stop, end in zip(rows, stops, ends, strict=True)
        ]
        rates = torch.zeros(self.rows, device=device)
        for row, learns in zip(rows, goes_on, strict=True):
            rates[row] = self.knobs.ttt_lr * cosine(chunks[row], self.knobs.ttt_horizon) if learns else 0.0
        firsts = torch.tensor([active[row].first for row in rows], device=device)[:, None]
        wanted = (positions >= firsts) & (positions < torch.tensor(stops, device=device)[:, None])
        for epoch in range(self.knobs.ttt_epochs if any(goes_on) else 1):
            with torch.set_grad_enabled(any(goes_on)):
                self.adapters.activate([weight[rows] for weight in self.adapters.parameters])
                hidden = self.model.hidden(tokens)
                hidden = hidden.gather(1, offsets[..., None].expand(-1, -1, hidden.size(-1)))
                logits = self.model.logits(hidden)
            if epoch == 0:
                measure(logits.detach()[wanted], hidden.detach()[wanted], positions[wanted])
            if any(goes_on):
                self.learn(logits, [text[-self.chunk :] for text in texts], ends, rates[rows], rates)

    def state_of(self, row: int) -> list[Tensor]:
        """Views of a row's adapters and optimizer."""
        optimizer = self.optimizer
        return [
            tensor[row] for tensor in (*self.adapters.parameters, *optimizer.first, *optimizer.second, optimizer.steps)
        ]

    def learn(self, logits: Tensor, texts: list, ends: list[int], own: Tensor, rates: Tensor) -> None:
        """One step of the rows with a rate on the mean loss of their chunks, logits (b, C, V)."""
        pairs = [
            np.append(text[1:], self.text[end : end + 1]) if rate else np.zeros(self.chunk, np.int64)
            for text, end, rate in zip(texts, ends, own.tolist(), strict=True)
        ]
        targets = torch.from_numpy(np.stack(pairs)).to(logits.device)
        with torch.enable_grad():
            losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
            loss = (losses.mean(dim=1) * (own > 0)).sum()
            found = torch.autograd.grad(loss, self.adapters.parameters, allow_unused=True)
        zeros = torch.zeros_like
        weights = self.adapters.parameters
        self.optimizer.step([zeros(w) if g is None else g for w, g in zip(weights, found, strict=True)], rates)

    @torch.no_grad()
    def load(self, row: int, document: Document) -> None:
        if document.state is None:
            self.adapters.reset(slice(row, row + 1))
            self.optimizer.reset(slice(row, row + 1))
            return
        for tensor, saved in zip(self.state_of(row), document.state, strict=True):
            tensor.copy_(saved)

"""The coder of base/native.py in Python: the same arithmetic and the same bytes, for machines without a C compiler."""

from dataclasses import dataclass, field

import numpy as np

from base.native import Coding

SIGN, LOW, LEVELS, COLUMN, INPUTS, BUCKETS = 24, 32, 48, 9, 17, 33
RATE, MOST_SEEN, EDGE = 16, 1023, 24
SIZES = (1, 48, 48, 48, 48, 16, 16, 16, 48, 0, 12, 3, 3)


class Ended(Exception):
    """The buffer is too short for what is written or read."""


@dataclass
class Coder:
    """A carry-less range coder of 32 bits."""

    buffer: np.ndarray
    decode: bool
    low: int = 0
    high: int = 0xFFFFFFFF
    window: int = 0
    at: int = 0

    def byte(self, value: int = 0) -> int:
        if self.at == self.buffer.size:
            raise Ended
        if not self.decode:
            self.buffer[self.at] = value
        self.at += 1
        return int(self.buffer[self.at - 1])

    def put(self, one: int, bit: int) -> int:
        middle = self.low + ((self.high - self.low) * one >> 16)
        if self.decode:
            bit = int(self.window <= middle)
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while not (self.low ^ self.high) >> 24:
            byte = self.byte(self.high >> 24)
            if self.decode:
                self.window = (self.window << 8 | byte) & 0xFFFFFFFF
            self.low, self.high = self.low << 8 & 0xFFFFFFFF, (self.high << 8 | 255) & 0xFFFFFFFF
        return bit


@dataclass
class Model:
    """The chances of every context, and the weights that mix them."""

    tables: tuple[list[int], list[int], list[int]]
    decisions: int
    cells: list[dict[int, int]]  # by context: (row * decisions + decision) -> 22 bits of chance, 10 of count
    rows: list[int] = field(default_factory=list)
    set: int = 0
    seen: int = 0
    by_decision: dict[int, list[int]] = field(default_factory=dict)
    by_set: dict[int, list[int]] = field(default_factory=dict)
    adjust: dict[int, int] = field(default_factory=dict)

    def decide(self, coder: Coder, decision: int, bit: int) -> int:
        stretch, squash, reciprocal = self.tables
        keys = [row * self.decisions + decision for row in self.rows]
        states = [cells.get(key, 1 << 31) for cells, key in zip(self.cells, keys, strict=True)]
        inputs = []
        for state in states:
            seen = state & 1023
            sure = 256 if seen >= 30 else seen * 256 // (seen + 2)
            inputs.append(stretch[state >> 20] * sure >> 8)
        inputs.append(256)
        first = self.by_decision.setdefault(decision, [65536 * 4 // 10] * INPUTS)
        second = self.by_set.setdefault(self.set, [65536 * 4 // 10] * INPUTS)
        a, b = (min(max(sum(map(int.__mul__, weights, inputs)) >> 16, -2047), 2047) for weights in (first, second))
        mean = (a + b) >> 1
        place = (mean + 2048) * 32
        weight, cell = place & 4095, (decision * LEVELS + self.set) * BUCKETS + (place >> 12)
        adjusted = (self.adjusted(cell) * (4096 - weight) + self.adjusted(cell + 1) * weight) >> 12
        chance = (squash[mean + 2048] * 6 + adjusted * 2 + 4) >> 3
        bit = coder.put(min(max(chance, EDGE), 65536 - EDGE), bit)
        target = 65535 if bit else 0
        rate = RATE + RATE * 16 * 8192 // (8192 + self.seen * 8)
        self.seen += 1
        for weights, mixed in ((first, a), (second, b)):
            error = (target - squash[mixed + 2048]) * rate
            for i, value in enumerate(inputs):
                weights[i] += (value * error + (1 << 19)) >> 20
        for cells, key, state in zip(self.cells, keys, states, strict=True):
            seen, chance = state & 1023, state >> 10
            chance += ((bit << 22) - bit - chance) * reciprocal[seen] >> 16
            cells[key] = chance << 10 | min(seen + 1, MOST_SEEN)
        cell += weight > 2048
        self.adjust[cell] = self.adjusted(cell) + ((target - self.adjusted(cell)) >> 6)
        return bit

    def adjusted(self, cell: int) -> int:
        return self.adjust.get(cell, self.tables[1][min(cell % BUCKETS * 128, 4095)])

    def value(self, coder: Coder, known: int, shift: int) -> int:
        size, high, node = abs(known), 0, 1
        while self.decide(coder, min(high, 23), int(high < size >> shift)):
            high += 1
            if high > 128 >> shift:
                raise Ended
        for bit in range(shift - 1, -1, -1):
            node = node * 2 + self.decide(coder, LOW + min(high, 2) * 32 + node, size >> bit & 1)
        if coder.decode:
            size = high << shift | (node - (1 << shift))
        negative = size and self.decide(coder, SIGN, int(known < 0))
        if size > 127 + negative:
            raise Ended
        return -size if negative else size


def level(x: int) -> int:
    """About 4 log2(x), 0 to 47."""
    if x < 4:
        return x
    bits = x.bit_length() - 1
    return min(4 * (bits - 1) + (x >> (bits - 2) & 3), LEVELS - 1)


def mix_code(decode: bool, coding: Coding) -> int:
    """As `base.native.mix_code`."""
    tables = tuple(table.tolist() for table in coding.tables)
    model = Model(tables, LOW + 96 if coding.shift else LOW, [{} for _ in coding.contexts])
    coder = Coder(coding.buffer, decode)
    try:
        if decode:
            for _ in range(4):
                coder.window = coder.window << 8 | coder.byte()
        _run(model, coder, coding)
        for _ in range(0 if decode else 4):
            coder.byte(coder.low >> 24)
            coder.low = coder.low << 8 & 0xFFFFFFFF
    except Ended:
        return -1
    return coder.at


def _run(model: Model, coder: Coder, coding: Coding) -> None:
    values, scales, by_column, shift = coding[:4]
    contexts = coding.contexts.tolist()
    count, rows, columns = values.shape
    levels = [0] * (count * max(rows, columns)) if scales is None else scales.ravel().tolist()
    mean = 512 << shift
    energies, before = [mean] * columns, [[0] * columns for _ in range(rows)]
    for k in range(count):
        above = [0] * columns
        for r in range(rows):
            row, total, recent, left = values[k, r].tolist(), 0, mean, 0
            for j in range(columns):
                energy = ((total << 8) + 8 * mean) // (j + 8)
                up, same, column_energy = above[j], before[r][j], energies[j]
                features = (
                    0,
                    level(energy >> 3),
                    level(column_energy >> 3),
                    level(energy * column_energy // (mean + 1) >> 3),
                    level(recent * column_energy // (mean + 1) >> 3),
                    *(min(level(abs(near)), 15) for near in (left, up, same)),
                    levels[k * columns + j if by_column else k * rows + r],
                    j,
                    level(energy >> 3) >> 2,
                    (left > 0) - (left < 0) + 1,
                    (up > 0) - (up < 0) + 1,
                )
                model.set = features[3]
                model.rows = [features[a] * (columns if b == COLUMN else SIZES[b]) + features[b] for a, b in contexts]
                left = model.value(coder, 0 if coder.decode else row[j], shift)
                size, row[j] = abs(left), left
                total += size
                recent += ((size << 8) - recent) >> 3
                energies[j] += ((size << 8) - energies[j]) >> 5
                mean += ((size << 12) - (mean << 4)) >> 14
            above = before[r] = row
            if coder.decode:
                values[k, r] = row

"""A writer job and a reader job, and how many of the writer's bits the reader knew."""

import atexit
import json
import math
import os
import random
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import binomtest

from data.errors import SandboxError
from dev.benchmarks.channel_counters import NODES, SYSCTL
from dev.benchmarks.channel_programs import ANY, CLOSING, HEAD, PRELUDE, TOGETHER, Channel
from dev.hostile import Act, End, own_folder, play, play_as

CHANCE = 1e-4  # below this a guess is better than chance: some four hundred are looked at
ROUNDS = 8  # of a counter, half of them to learn the offset
CARRIERS = 512  # files in a folder that both are given, for one channel
INPUTS: dict[tuple[int, int], Path] = {}  # uid and number of carriers -> what jobs of that person are given


@dataclass(frozen=True)
class Pair:
    """Who writes and who reads, and the folder with files that both are given, if there is one."""

    name: str
    writer: tuple[str, ...]
    reader: tuple[str, ...]
    common: str = ""  # empty: the files of the machine's Python
    internet: bool = False

    @property
    def place(self) -> str:
        return f"{{in}}/{self.common}" if self.common else ""


PAIRS = (
    Pair("score → proof", ("bundle", "artifact"), ("bundle", "artifact"), "bundle"),
    Pair("score → train", ("bundle", "artifact"), ("bundle", "shards"), "bundle"),
    Pair("seed → seed", ("bundle", "shards"), ("bundle", "shards"), "shards"),
    Pair("trial → trial", ("bundle", "shards"), ("other", "shards"), "shards"),
    Pair("proposer → scorer", (), ("bundle", "artifact"), internet=True),
)


@dataclass(frozen=True)
class Found:
    """What a reader knew: `share` of the bits for which there was room, or why nothing passed."""

    share: float
    note: str
    seconds: float = 0.0  # that writer and reader took, where they ran at once
    bits: int = 0


def inputs_of(uid: int, carriers: int) -> Path:
    """What the harness gives: one folder a process, on the disk and evictable, with access times as if never read."""
    if (uid, carriers) not in INPUTS:
        folder = INPUTS[uid, carriers] = own_folder(uid)
        atexit.register(shutil.rmtree, folder)
        for name, count in (("bundle", carriers), ("artifact", 1), ("shards", carriers), ("other", 1)):
            (folder / name).mkdir()
            for i in range(count):
                (folder / name / f"{i:05d}.py").write_bytes(random.randbytes(1200))
        for path in folder.rglob("*"):
            os.chown(path, uid, uid)
        os.sync()  # dirty pages cannot be evicted
    now = time.time()
    for path in INPUTS[uid, carriers].rglob("*.py"):
        os.utime(path, (now, now))
    return INPUTS[uid, carriers]


def head(n: int, seed: int, bits: Sequence[int] | None, place: str, offset: int = 0, start: float = 0.0) -> str:
    told, skip = None if bits is None else list(bits), seed % 40_000
    return HEAD.format(n=n, seed=seed, bits=told, start=start, place=place, skip=skip, offset=offset)


def send(
    pair: Pair, level: str, uid: int, write: str, read: str, beside: bool = False, carriers: int = CARRIERS
) -> tuple[End, End]:
    """One writer and one reader."""
    inputs, jobs = inputs_of(uid, carriers), own_folder(uid)
    given = [{name: str(inputs / name) for name in names} for names in (pair.writer, pair.reader)]
    acts = [Act(write, "writer", given[0], internet=pair.internet, beside=beside), Act(read, "reader", given[1])]
    try:
        with restored():
            writer, reader = play(acts, jobs, level) if uid == os.geteuid() else play_as(uid, acts, jobs, level)
    finally:
        shutil.rmtree(jobs)
    return writer, reader


@contextmanager
def restored() -> Iterator[None]:
    """What a writer may have changed on the machine itself is put back."""
    setting, nodes = Path(SYSCTL).read_text(), {node: os.stat(node) for node in eval(NODES)}  # noqa: PTH116
    try:
        yield
    finally:
        if os.geteuid() == 0:
            Path(SYSCTL).write_text(setting)
            for node, info in nodes.items():
                os.utime(node, ns=(info.st_atime_ns, info.st_mtime_ns))


def measure(channel: Channel, pair: Pair, level: str, uid: int) -> Found:
    """The share of random bits that pass where a writer and a reader have the machine to themselves, or run at once."""
    n, seed, beside = channel.bits, random.randrange(1 << 30), channel.kind == "beside"
    bits = [random.getrandbits(1) for _ in range(n)]
    start = time.time() + 2 if beside else 0.0
    place = pair.place
    writer, reader = send(
        pair,
        level,
        uid,
        head(n, seed, bits, place, start=start) + PRELUDE + channel.write + CLOSING,
        head(n, seed, None, place, start=start) + PRELUDE + channel.read + CLOSING,
        beside,
    )
    if problem := refusal(writer) or refusal(reader):
        return Found(0.0, problem)
    seen, seconds = reader.said
    return compared(bits, seen, writer.said[1] + seconds)


def measure_all(channels: Sequence[Channel], pair: Pair, level: str, uid: int, most: int) -> dict[str, Found]:
    """The same for many channels in one writer and one reader, each on files of its own, with at most so many bits."""
    seed, sent = random.randrange(1 << 30), {}
    write, read = {}, {}
    for i, channel in enumerate(channels):
        n = most if channel.bits == ANY else channel.bits
        bits = sent[channel.name] = [random.getrandbits(1) for _ in range(n)]
        write[channel.name] = head(n, seed, bits, pair.place, i * most), channel.write
        read[channel.name] = head(n, seed, None, pair.place, i * most), channel.read
    whole = [TOGETHER.format(prelude=PRELUDE, programs=json.dumps(made)) for made in (write, read)]
    writer, reader = send(pair, level, uid, whole[0], whole[1], carriers=len(channels) * most)
    if problem := refusal(writer) or refusal(reader):
        raise SandboxError(f"a job for {len(sent)} channels did not end by itself: {problem}")
    found = {}
    for name, bits in sent.items():
        problem = writer.said[name][1] or reader.said[name][1]
        found[name] = Found(0.0, problem) if problem else compared(bits, reader.said[name][0])
    return found


def compared(bits: Sequence[int], seen: Sequence[float], seconds: float = 0.0) -> Found:
    """What the reader's numbers say about the bits that were not told."""
    if len(seen) != len(bits):
        return Found(0.0, f"got {len(seen)} of {len(bits)} answers")
    wrong, tested = decoded(bits, seen)
    if binomtest(wrong, tested, 0.5, alternative="less").pvalue > CHANCE:
        return Found(0.0, f"chance: {wrong} of {tested} wrong")
    return Found(1 - entropy(wrong / tested), f"{wrong} of {tested} wrong", seconds, len(bits))


def measure_counter(channel: Channel, pair: Pair, level: str, uid: int) -> Found:
    """The share of a symbol's bits: half of the rounds give the offset, the others are read."""
    symbols = channel.bits
    off = []
    for sent in [random.randrange(symbols) for _ in range(ROUNDS)]:
        write, read = (head(1, 0, told, pair.place) + PRELUDE for told in ([sent], None))
        writer, reader = send(pair, level, uid, write + channel.write + CLOSING, read + channel.read + CLOSING)
        if problem := refusal(writer) or refusal(reader):
            return Found(0.0, problem)
        off.append((reader.said[0][0] - sent) % symbols)
    known, rest = off[: ROUNDS // 2], off[ROUNDS // 2 :]
    around = lambda a, b: (a - b + symbols / 2) % symbols - symbols / 2  # noqa: E731
    offset = min(known, key=lambda a: sum(abs(around(b, a)) for b in known))
    apart = [abs(around(value, offset)) for value in rest]
    inside = max(apart) * 2 + 1
    if (inside / symbols) ** len(rest) > 1e-3:
        return Found(0.0, f"lost in what others count: off by {statistics.median(apart):.1f} of {symbols}")
    return Found(
        math.log2(symbols / inside) / math.log2(symbols), f"off by at most {max(apart):.1f} of {symbols}", bits=symbols
    )


def refusal(done: End) -> str:
    """Why a program could not do its part; empty if it did."""
    if not done.verdict and done.said is not None:
        return ""
    return (done.log.strip().splitlines() or [done.reason or str(done.status)])[-1][:90]


def decoded(bits: Sequence[int], seen: Sequence[float]) -> tuple[int, int]:
    """Errors among the bits that were not told, with the threshold that fits the told half best."""
    told, rest = list(zip(seen[::2], bits[::2], strict=True)), list(zip(seen[1::2], bits[1::2], strict=True))
    values = sorted({value for value, _ in told})
    cuts = [values[0] - 1, *((a + b) / 2 for a, b in zip(values, values[1:], strict=False))]
    best = min(
        ((sum((value > cut) ^ flip != bit for value, bit in told), cut, flip) for cut in cuts for flip in (0, 1)),
    )
    return sum((value > best[1]) ^ best[2] != bit for value, bit in rest), len(rest)


def entropy(p: float) -> float:
    return 0.0 if p in (0, 1) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)

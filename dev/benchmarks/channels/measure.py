"""Run a writer job and a reader job, and measure how many of the writer's bits the reader recovers."""

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

from common.errors import SandboxError
from dev.benchmarks.channels.counters import NODES, SYSCTL
from dev.benchmarks.channels.programs import ANY, CLOSING, HEAD, PRELUDE, TOGETHER, Channel
from dev.hostile import Attack, AttackResult, make_user_folder, run_attacks_as, run_attacks_here

CHANCE = 1e-4  # below this p-value a guess is better than chance; some four hundred are tested
ROUNDS = 8  # of a counter; half of them are used to learn the offset
CARRIERS = 512  # files in a folder that both jobs get, for one channel
INPUTS: dict[tuple[int, int], Path] = {}  # uid and number of carriers -> inputs of that user's jobs


@dataclass(frozen=True)
class Pair:
    """The inputs of a writer and a reader, and the folder with files that both of them get, if there is one."""

    name: str
    writer: tuple[str, ...]
    reader: tuple[str, ...]
    common: str = ""  # empty: the files of the machine's Python
    internet: bool = False

    @property
    def folder(self) -> str:
        """The shared folder as a path pattern, or an empty string."""
        return f"{{in}}/{self.common}" if self.common else ""


PAIRS = (
    Pair("score → audit", ("bundle", "artifact"), ("bundle", "artifact"), "bundle"),
    Pair("score → train", ("bundle", "artifact"), ("bundle", "shards"), "bundle"),
    Pair("seed → seed", ("bundle", "shards"), ("bundle", "shards"), "shards"),
    Pair("trial → trial", ("bundle", "shards"), ("other", "shards"), "shards"),
    Pair("proposer → scorer", (), ("bundle", "artifact"), internet=True),
)


@dataclass(frozen=True)
class Transmission:
    """The result of one attempt: the `share` of the room's bits that the reader recovered, with a note."""

    share: float
    note: str
    seconds: float = 0.0  # of writer and reader, if they ran at once
    bits: int = 0


def inputs_of(uid: int, carriers: int) -> Path:
    """Return inputs like those from the harness: on disk and evictable, with access times as if never read."""
    if (uid, carriers) not in INPUTS:
        folder = INPUTS[uid, carriers] = make_user_folder(uid)
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


def head(n: int, seed: int, bits: Sequence[int] | None, folder: str, offset: int = 0, start: float = 0.0) -> str:
    """Return the assignments that open a program; `bits` is None for a reader."""
    values, skip = None if bits is None else list(bits), seed % 40_000
    return HEAD.format(n=n, seed=seed, bits=values, start=start, place=folder, skip=skip, offset=offset)


def send(
    pair: Pair, level: str, uid: int, write: str, read: str, concurrent: bool = False, carriers: int = CARRIERS
) -> tuple[AttackResult, AttackResult]:
    """Run one writer and one reader, and return their results."""
    inputs, jobs = inputs_of(uid, carriers), make_user_folder(uid)
    folders = [{name: str(inputs / name) for name in names} for names in (pair.writer, pair.reader)]
    attacks = [
        Attack(write, "writer", folders[0], internet=pair.internet, concurrent=concurrent),
        Attack(read, "reader", folders[1]),
    ]
    try:
        with restored():
            writer, reader = (
                run_attacks_here(attacks, jobs, level)
                if uid == os.geteuid()
                else run_attacks_as(uid, attacks, jobs, level)
            )
    finally:
        shutil.rmtree(jobs)
    return writer, reader


@contextmanager
def restored() -> Iterator[None]:
    """Restore on exit whatever a writer may have changed on the machine itself."""
    setting, nodes = Path(SYSCTL).read_text(), {node: os.stat(node) for node in eval(NODES)}  # noqa: PTH116
    try:
        yield
    finally:
        if os.geteuid() == 0:
            Path(SYSCTL).write_text(setting)
            for node, info in nodes.items():
                os.utime(node, ns=(info.st_atime_ns, info.st_mtime_ns))


def measure(channel: Channel, pair: Pair, level: str, uid: int) -> Transmission:
    """Measure the share of random bits that pass between a writer and a reader, one after the other or at once."""
    n, seed, concurrent = channel.bits, random.randrange(1 << 30), channel.kind == "concurrent"
    bits = [random.getrandbits(1) for _ in range(n)]
    start = time.time() + 2 if concurrent else 0.0
    folder = pair.folder
    writer, reader = send(
        pair,
        level,
        uid,
        head(n, seed, bits, folder, start=start) + PRELUDE + channel.write + CLOSING,
        head(n, seed, None, folder, start=start) + PRELUDE + channel.read + CLOSING,
        concurrent,
    )
    if problem := refusal(writer) or refusal(reader):
        return Transmission(0.0, problem)
    seen, seconds = reader.output
    return compare(bits, seen, writer.output[1] + seconds)


def measure_all(channels: Sequence[Channel], pair: Pair, level: str, uid: int, most: int) -> dict[str, Transmission]:
    """Measure many channels in one writer and one reader, each on files of its own, with at most `most` bits each."""
    seed, sent = random.randrange(1 << 30), {}
    write, read = {}, {}
    for i, channel in enumerate(channels):
        n = most if channel.bits == ANY else channel.bits
        bits = sent[channel.name] = [random.getrandbits(1) for _ in range(n)]
        write[channel.name] = head(n, seed, bits, pair.folder, i * most), channel.write
        read[channel.name] = head(n, seed, None, pair.folder, i * most), channel.read
    programs = [TOGETHER.format(prelude=PRELUDE, programs=json.dumps(bodies)) for bodies in (write, read)]
    writer, reader = send(pair, level, uid, programs[0], programs[1], carriers=len(channels) * most)
    if problem := refusal(writer) or refusal(reader):
        raise SandboxError(f"a job for {len(sent)} channels did not exit: {problem}")
    results = {}
    for name, bits in sent.items():
        problem = writer.output[name][1] or reader.output[name][1]
        results[name] = Transmission(0.0, problem) if problem else compare(bits, reader.output[name][0])
    return results


def compare(bits: Sequence[int], seen: Sequence[float], seconds: float = 0.0) -> Transmission:
    """Return the share of the bits not revealed that the reader's numbers give away."""
    if len(seen) != len(bits):
        return Transmission(0.0, f"got {len(seen)} of {len(bits)} answers")
    wrong, tested = decoded(bits, seen)
    if binomtest(wrong, tested, 0.5, alternative="less").pvalue > CHANCE:
        return Transmission(0.0, f"chance: {wrong} of {tested} wrong")
    return Transmission(1 - entropy(wrong / tested), f"{wrong} of {tested} wrong", seconds, len(bits))


def measure_counter(channel: Channel, pair: Pair, level: str, uid: int) -> Transmission:
    """Measure the share of a symbol's bits: half of the rounds give the offset, the others are read."""
    symbols = channel.bits
    off = []
    for sent in [random.randrange(symbols) for _ in range(ROUNDS)]:
        write, read = (head(1, 0, bits, pair.folder) + PRELUDE for bits in ([sent], None))
        writer, reader = send(pair, level, uid, write + channel.write + CLOSING, read + channel.read + CLOSING)
        if problem := refusal(writer) or refusal(reader):
            return Transmission(0.0, problem)
        off.append((reader.output[0][0] - sent) % symbols)
    calibration, rest = off[: ROUNDS // 2], off[ROUNDS // 2 :]
    offset = min(calibration, key=lambda a: sum(abs(around(b, a, symbols)) for b in calibration))
    apart = [abs(around(value, offset, symbols)) for value in rest]
    window = max(apart) * 2 + 1
    if (window / symbols) ** len(rest) > 1e-3:
        return Transmission(0.0, f"lost in what others count: off by {statistics.median(apart):.1f} of {symbols}")
    return Transmission(
        math.log2(symbols / window) / math.log2(symbols), f"off by at most {max(apart):.1f} of {symbols}", bits=symbols
    )


def around(value: float, center: float, symbols: int) -> float:
    """Return the signed difference on a circle of `symbols`."""
    return (value - center + symbols / 2) % symbols - symbols / 2


def refusal(done: AttackResult) -> str:
    """Return the reason why a program could not do its part, or an empty string if it did."""
    if not done.verdict and done.output is not None:
        return ""
    return str((done.log.strip().splitlines() or [done.reason or str(done.status)])[-1])[:90]


def decoded(bits: Sequence[int], seen: Sequence[float]) -> tuple[int, int]:
    """Count the errors and the bits in the hidden half, with the threshold that fits the revealed half best."""
    revealed, rest = list(zip(seen[::2], bits[::2], strict=True)), list(zip(seen[1::2], bits[1::2], strict=True))
    values = sorted({value for value, _ in revealed})
    cuts = [values[0] - 1, *((a + b) / 2 for a, b in zip(values, values[1:], strict=False))]
    best = min(
        ((sum((value > cut) ^ flip != bit for value, bit in revealed), cut, flip) for cut in cuts for flip in (0, 1)),
    )
    return sum((value > best[1]) ^ best[2] != bit for value, bit in rest), len(rest)


def entropy(p: float) -> float:
    return 0.0 if p in (0, 1) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)

"""How many bits pass from one job to another: a writer and a reader for every channel that anyone has named, at every level.

.venv/bin/python -m dev.benchmarks.channels
"""

import atexit
import math
import os
import platform
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import typer
from scipy.stats import binomtest

from dev.benchmarks.channel_counters import BESIDE, COUNTERS, KERNEL, NODES, SYSCTL
from dev.benchmarks.channel_programs import CLOSING, EVICT, FILES, PRELUDE, Channel
from dev.hostile import Act, End, own_folder, play, play_as
from preflight.walls import available_levels

CHANCE = 1e-4  # below this a guess is better than chance: some four hundred are looked at
ROUNDS = 8  # of a counter, half of them to learn the offset
POCKET = Path("shards/pocket")
CLEAN: dict[int, Path] = {}  # uid -> inputs
LEVELS = [level for level in available_levels() if level != "none"]
CENSUS = """
places = {os.path.realpath(place) for place in ("/usr", "/etc", "/opt", "/bin", "/lib", sys.prefix, sys.base_prefix)}
known = {}
for place in places:
    try:
        known |= {(info.st_dev, info.st_ino): info.st_size for info in map(os.stat, walk(place))}
    except OSError:
        pass
seen = [len(known), sum(-(-size // 4096) for size in known.values())]
"""


@dataclass(frozen=True)
class Pair:
    """Who writes and who reads, and the folder with files that both are given, if there is one."""

    name: str
    writer: tuple[str, ...]
    reader: tuple[str, ...]
    common: str = ""  # empty: the files of the machine's Python
    internet: bool = False


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


@contextmanager
def folders(uid: int, clean: bool) -> Iterator[tuple[Path, Path]]:
    """What the harness gives, never read before or (clean) on the disk and evictable, and a folder for the jobs."""
    inputs, jobs = CLEAN.get(uid) if clean and uid in CLEAN else prepare(uid), own_folder(uid)
    if clean and uid not in CLEAN:
        os.sync()  # dirty pages cannot be evicted
        atexit.register(shutil.rmtree, CLEAN.setdefault(uid, inputs))
    try:
        yield inputs, jobs
    finally:
        for folder in [jobs] if clean else [jobs, inputs]:
            shutil.rmtree(folder)


def prepare(uid: int, count: int = 600) -> Path:
    folder = own_folder(uid)
    for name in ("bundle", "artifact", "shards", "other"):
        (folder / name).mkdir()
        for i in range(count if name in ("bundle", "shards") else 1):
            (folder / name / f"{i:04d}.py").write_bytes(random.randbytes(1200))
    for path in folder.rglob("*"):
        os.chown(path, uid, uid)
    return folder


def program(
    body: str, n: int, seed: int, bits: Sequence[int] | None, place: str, start: float = 0.0, skip: int = 0
) -> str:
    head = PRELUDE.format(n=n, seed=seed, bits=bits and list(bits), start=start, slot=0.25, place=place, skip=skip)
    return head + body + CLOSING


def send(channel: Channel, pair: Pair, level: str, uid: int, n: int, bits: Sequence[int]) -> tuple[End, End]:
    """One writer and one reader."""
    seed, skip = random.randrange(1 << 30), random.randrange(40_000)
    with folders(uid, channel.kind != "files" or channel.write is EVICT) as (given, jobs):
        place = f"{{in}}/{pair.common}" if pair.common else ""
        start = time.time() + 2 if channel.kind == "beside" else 0.0
        acts = [
            Act(
                program(body, n, seed, told, place, start, skip),
                who,
                {name: str(given / name) for name in inputs},
                internet=pair.internet and who == "writer",
                beside=channel.kind == "beside" and who == "writer",
            )
            for who, body, told, inputs in (
                ("writer", channel.write, bits, pair.writer),
                ("reader", channel.read, None, pair.reader),
            )
        ]
        with restored():
            return tuple(play(acts, jobs, level) if uid == os.geteuid() else play_as(uid, acts, jobs, level))


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


def measure(channel: Channel, pair: Pair, level: str, uid: int, n: int = 0) -> Found:
    """The share of `n` random bits that pass."""
    if channel.kind == "counter":
        return measure_counter(channel, pair, level, uid)
    n = n or channel.bits
    bits = [random.getrandbits(1) for _ in range(n)]
    writer, reader = send(channel, pair, level, uid, n, bits)
    if problem := refusal(writer) or refusal(reader):
        return Found(0.0, problem)
    seen, seconds = reader.said
    if len(seen) != n:
        return Found(0.0, f"got {len(seen)} of {n} answers")
    wrong, tested = decoded(bits, seen)
    if binomtest(wrong, tested, 0.5, alternative="less").pvalue > CHANCE:
        return Found(0.0, f"chance: {wrong} of {tested} wrong")
    return Found(1 - entropy(wrong / tested), f"{wrong} of {tested} wrong", writer.said[1] + seconds, n)


def measure_counter(channel: Channel, pair: Pair, level: str, uid: int) -> Found:
    """The share of a symbol's bits: half of the rounds give the offset, the others are read."""
    symbols = channel.bits
    off = []
    for sent in [random.randrange(symbols) for _ in range(ROUNDS)]:
        writer, reader = send(channel, pair, level, uid, 1, [sent])
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


def census(level: str) -> tuple[int, int]:
    """Files and pages that a job of this level sees beyond its inputs."""
    folder = own_folder(os.geteuid())
    (done,) = play([Act(program(CENSUS, 1, 0, None, ""))], folder, level)
    shutil.rmtree(folder)
    return tuple(done.said[0]) if done.said else (0, 0)


def given(pair: Pair) -> tuple[int, int]:
    """Files and pages of what the harness gives both sides on pocket."""
    sizes = [path.stat().st_size for path in (POCKET / "train").iterdir()] if pair.common == "shards" else [300_000] * 2
    sizes.append((POCKET / "tokenizer.model").stat().st_size)
    return len(sizes), sum(-(-size // 4096) for size in sizes)


def short(bits: float) -> str:
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if bits >= unit:
            return f"{bits / unit:.3g} {name}"
    return f"{bits:.3g}" if bits else "0"


def rows(level: str) -> list[tuple[Channel, dict[str, list[tuple[Found, bool]]]]]:
    """Each channel with what was found for each pair: on the machine's own files, then on what the harness gives."""
    uid, found = os.geteuid(), []
    for channel in (*FILES, *KERNEL, *COUNTERS, *BESIDE):
        by_pair: dict[str, list[tuple[Found, bool]]] = {}
        for pair in PAIRS if channel.kind == "files" else (PAIRS[0], PAIRS[-1]):
            places = {"": "image", pair.common: "inputs"} if channel.kind == "files" else {"": channel.only}
            for place, name in places.items():
                if channel.only in ("", name) or (channel.only == "out" and not place):
                    tried = Pair(pair.name, pair.writer, pair.reader, place, pair.internet)
                    by_pair.setdefault(pair.name, []).append((measure(channel, tried, level, uid), bool(place)))
        found.append((channel, by_pair))
        print(level, channel.name, file=sys.stderr)
    return found


def table(
    level: str, found: list[tuple[Channel, dict[str, list[tuple[Found, bool]]]]], say: Callable[[str], None]
) -> None:
    """Bits from a job to a later one, then bits per second between two that run at once."""
    image, heads = census(level), [pair.name for pair in PAIRS]
    say(f"\n## {level}\n\nEvery job sees {image[0]} files of the machine, {image[1]} pages of 4 KiB.\n")
    say("| channel | " + " | ".join(heads) + " | how it went |\n|---|" + "---|" * (len(heads) + 1))
    sums = dict.fromkeys(heads, 0.0)
    for channel, by_pair in found:
        if channel.kind == "beside":
            continue
        bits, notes = dict.fromkeys(heads, 0.0), [made.note for tried in by_pair.values() for made, _ in tried]
        for pair in PAIRS:
            for made, inputs in by_pair.get(pair.name, by_pair[PAIRS[0].name] if channel.kind != "files" else []):
                room = channel.room(*(given(pair) if inputs else image))
                bits[pair.name] += made.share * (math.log2(channel.bits) if channel.kind == "counter" else room)
        sums = {name: sums[name] + bits[name] for name in heads}
        say(f"| {channel.name} | " + " | ".join(short(bits[name]) for name in heads) + f" | {common(notes)} |")
    say("| **sum** | " + " | ".join(f"**{short(sums[name])}**" for name in heads) + " | |")
    say("\n| between two jobs at the same time | bits per second | how it went |\n|---|---|---|")
    for channel, by_pair in found:
        if channel.kind == "beside":
            best = max((made for tried in by_pair.values() for made, _ in tried), key=lambda made: made.share)
            rate = best.share * best.bits / best.seconds if best.share else 0.0
            say(f"| {channel.name} | {short(rate)} | {best.note} |")


def common(notes: list[str]) -> str:
    told = [note.split(":")[0] if note.startswith("chance") else note for note in notes]
    return max(set(told), key=told.count).replace("|", "/")


def main(write: Path = Path("dev/benchmarks/channels.md"), title: str = "What passes from one job to another") -> None:
    """Print the tables and write them."""
    found = {level: rows(level) for level in LEVELS}
    lines: list[str] = []

    def say(text: str) -> None:
        print(text, flush=True)
        lines.append(text)

    say(f"# {title}\n")
    say(
        f"`python -m dev.benchmarks.channels`, {date.today()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"Linux {platform.release()}, uid {os.geteuid()}."
    )
    for level in LEVELS:
        table(level, found[level], say)
    write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    typer.run(main)

"""How many bits pass from one job to another: a writer and a reader for every channel that anyone has named.

.venv/bin/python -m dev.benchmarks.channels
"""

import math
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import typer

from dev.benchmarks.channel_counters import BESIDE, COUNTERS, KERNEL
from dev.benchmarks.channel_measure import PAIRS, Found, Pair, head, measure, measure_all, measure_counter
from dev.benchmarks.channel_programs import CLOSING, FILES, PRELUDE, Channel
from dev.hostile import Act, own_folder, play
from preflight.sandbox.isolation import available_levels

PAGES = "pages in memory"
POCKET = Path("shards/pocket")
LEVELS = [level for level in available_levels() if level != "none"]
METHOD = """

A writer job leaves random bits, a fresh reader job guesses; half of the bits are told, to find the
threshold, and the others count: (1 - H(errors)) of all for which there is room, 0 where guesses are no better than
chance (binomial test, 1e-4).
Room: files and pages that both jobs can see (of pocket's inputs, of the machine's own Python and system), entries of
OUT, a million names looked up. Marks that stay on the disk are tried on inputs only. The ways to read which pages
are in memory count once in the sum. Counters of the machine are driven to one of 8 or 16 places in a cycle: bits of one
symbol. No GPU here: its memory is not measured. Other work ran on the same processors: what was lost in noise is a
lower end."""
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


def census(level: str) -> tuple[int, int]:
    """Files and pages that a job of this level sees beyond its inputs."""
    folder = own_folder(os.geteuid())
    (done,) = play([Act(head(1, 0, None, "") + PRELUDE + CENSUS + CLOSING)], folder, level)
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


Tried = dict[str, list[tuple[Found, bool]]]  # pair -> what was found, and whether on what the harness gives


def rows(level: str) -> dict[Channel, Tried]:
    """Each channel with what was found for each pair: on the machine's own files, then on what the harness gives."""
    uid = os.geteuid()
    found: dict[Channel, Tried] = {channel: {} for channel in (*FILES, *KERNEL, *COUNTERS, *BESIDE)}
    for pair in PAIRS:
        for common in {"", pair.common}:
            kinds = ("", "inputs" if common else "image", "out" if common == pair.common else "")
            here = [channel for channel in FILES if channel.only in kinds] + list(
                KERNEL if common == pair.common else ()
            )
            for name, made in measure_all(here, replace(pair, common=common), level, uid, 256).items():
                (channel,) = (channel for channel in here if channel.name == name)
                found[channel].setdefault(pair.name, []).append((made, bool(common)))
        print(level, pair.name, file=sys.stderr)
    for channel in (*COUNTERS, *BESIDE):
        for pair in (PAIRS[0], PAIRS[-1]):
            one = measure_counter if channel.kind == "counter" else measure
            made = one(channel, replace(pair, common=""), level, uid)
            found[channel].setdefault(pair.name, []).append((made, False))
        print(level, channel.name, file=sys.stderr)
    return found


def table(level: str, found: dict[Channel, Tried], say: Callable[[str], None]) -> None:
    """Bits from a job to a later one, then bits per second between two that run at once."""
    image, heads = census(level), [pair.name for pair in PAIRS]
    say(f"\n## {level}\n\nEvery job sees {image[0]} files of the machine, {image[1]} pages of 4 KiB.\n")
    say("| channel | " + " | ".join(heads) + " | how it went |\n|---|" + "---|" * (len(heads) + 1))
    sums, pages = dict.fromkeys(heads, 0.0), dict.fromkeys(heads, 0.0)
    for channel, by_pair in found.items():
        if channel.kind == "beside":
            continue
        bits, notes = dict.fromkeys(heads, 0.0), [made.note for tried in by_pair.values() for made, _ in tried]
        for pair in PAIRS:
            for made, inputs in by_pair.get(pair.name, by_pair[PAIRS[0].name] if channel.kind != "files" else []):
                room = channel.room(*(given(pair) if inputs else image))
                bits[pair.name] += made.share * (math.log2(channel.bits) if channel.kind == "counter" else room)
        for name in heads:  # the ways to read the page cache read one and the same memory
            sums[name] += bits[name] if not channel.name.startswith(PAGES) else max(0.0, bits[name] - pages[name])
            pages[name] = max(pages[name], bits[name]) if channel.name.startswith(PAGES) else pages[name]
        say(f"| {channel.name} | " + " | ".join(short(bits[name]) for name in heads) + f" | {common(notes)} |")
    say("| **sum** | " + " | ".join(f"**{short(sums[name])}**" for name in heads) + " | |")
    say("\n| between two jobs at the same time | bits per second | how it went |\n|---|---|---|")
    for channel, by_pair in found.items():
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
        f"Linux {platform.release()}, uid {os.geteuid()}. {METHOD}"
    )
    for level in LEVELS:
        table(level, found[level], say)
    write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    typer.run(main)

"""Measure how many bits pass from one job to another: a writer and a reader for every known covert channel.

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

from dev.benchmarks.channels.counters import CONCURRENT, COUNTERS, KERNEL
from dev.benchmarks.channels.measure import PAIRS, Pair, Transmission, head, measure, measure_all, measure_counter
from dev.benchmarks.channels.programs import CLOSING, FILES, PRELUDE, Channel
from dev.hostile import Attack, make_user_folder, run_attacks_here
from preflight.sandbox.isolation.levels import available_levels

PAGES = "pages in memory"
POCKET = Path("shards/pocket")
LEVELS = [level for level in available_levels() if level != "none"]
METHOD = """

A writer job leaves random bits, and a fresh reader job guesses them. Half of the bits are revealed to
fit the threshold; the other half give the capacity, (1 - H(errors)) of the room, or 0 if the guesses are no better
than chance (binomial test, 1e-4).
Room: files and pages that both jobs can see (of pocket's inputs, of the machine's own Python and system), entries of
OUT, a million looked-up names. Marks that stay on the disk are tried on inputs only. The ways to read which pages are
in memory count once in the sum. Counters of the machine are driven to one of 8 or 16 positions in a cycle: the bits of
one symbol. Without a GPU, its memory is not measured. Other work ran on the same processors, so capacities that are
limited by noise are lower bounds."""
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
    """Count the files and pages that a job of this level sees beyond its inputs."""
    folder = make_user_folder(os.geteuid())
    (done,) = run_attacks_here([Attack(head(1, 0, None, "") + PRELUDE + CENSUS + CLOSING)], folder, level)
    shutil.rmtree(folder)
    return tuple(done.output[0]) if done.output else (0, 0)


def shared_inputs(pair: Pair) -> tuple[int, int]:
    """Count the files and pages that the harness gives both sides on pocket."""
    sizes = [path.stat().st_size for path in (POCKET / "train").iterdir()] if pair.common == "shards" else [300_000] * 2
    sizes.append((POCKET / "tokenizer.model").stat().st_size)
    return len(sizes), sum(-(-size // 4096) for size in sizes)


def short(bits: float) -> str:
    """Format a number of bits with three digits and a unit prefix."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if bits >= unit:
            return f"{bits / unit:.3g} {name}"
    return f"{bits:.3g}" if bits else "0"


ByPair = dict[str, list[tuple[Transmission, bool]]]  # pair -> transmissions, each with true if on the shared inputs


def rows(level: str) -> dict[Channel, ByPair]:
    """Measure each channel for each pair: on the machine's own files, then on the inputs that the harness gives."""
    uid = os.geteuid()
    results: dict[Channel, ByPair] = {channel: {} for channel in (*FILES, *KERNEL, *COUNTERS, *CONCURRENT)}
    for pair in PAIRS:
        for common in {"", pair.common}:
            kinds = ("", "inputs" if common else "image", "out" if common == pair.common else "")
            tried = [channel for channel in FILES if channel.only in kinds] + list(
                KERNEL if common == pair.common else ()
            )
            for name, result in measure_all(tried, replace(pair, common=common), level, uid, 256).items():
                (channel,) = (channel for channel in tried if channel.name == name)
                results[channel].setdefault(pair.name, []).append((result, bool(common)))
        print(level, pair.name, file=sys.stderr)
    for channel in (*COUNTERS, *CONCURRENT):
        for pair in (PAIRS[0], PAIRS[-1]):
            run = measure_counter if channel.kind == "counter" else measure
            result = run(channel, replace(pair, common=""), level, uid)
            results[channel].setdefault(pair.name, []).append((result, False))
        print(level, channel.name, file=sys.stderr)
    return results


def table(level: str, results: dict[Channel, ByPair], write: Callable[[str], None]) -> None:
    """Write the bits from a job to a later one, then the bits per second between two that run at once."""
    image, heads = census(level), [pair.name for pair in PAIRS]
    write(f"\n## {level}\n\nEvery job sees {image[0]} files of the machine, {image[1]} pages of 4 KiB.\n")
    write("| channel | " + " | ".join(heads) + " | how it went |\n|---|" + "---|" * (len(heads) + 1))
    sums, pages = dict.fromkeys(heads, 0.0), dict.fromkeys(heads, 0.0)
    for channel, by_pair in results.items():
        if channel.kind == "concurrent":
            continue
        bits, notes = dict.fromkeys(heads, 0.0), [result.note for pairs in by_pair.values() for result, _ in pairs]
        for pair in PAIRS:
            for result, inputs in by_pair.get(pair.name, by_pair[PAIRS[0].name] if channel.kind != "files" else []):
                room = channel.room(*(shared_inputs(pair) if inputs else image))
                bits[pair.name] += result.share * (math.log2(channel.bits) if channel.kind == "counter" else room)
        for name in heads:  # the ways to read the page cache read one and the same memory
            sums[name] += bits[name] if not channel.name.startswith(PAGES) else max(0.0, bits[name] - pages[name])
            pages[name] = max(pages[name], bits[name]) if channel.name.startswith(PAGES) else pages[name]
        write(f"| {channel.name} | " + " | ".join(short(bits[name]) for name in heads) + f" | {common(notes)} |")
    write("| **sum** | " + " | ".join(f"**{short(sums[name])}**" for name in heads) + " | |")
    write("\n| between two jobs at the same time | bits per second | how it went |\n|---|---|---|")
    for channel, by_pair in results.items():
        if channel.kind == "concurrent":
            best = max((result for pairs in by_pair.values() for result, _ in pairs), key=lambda result: result.share)
            rate = best.share * best.bits / best.seconds if best.share else 0.0
            write(f"| {channel.name} | {short(rate)} | {best.note} |")


def common(notes: list[str]) -> str:
    """Return the most frequent note; all transmissions at chance level count as the same."""
    kinds = [note.split(":")[0] if note.startswith("chance") else note for note in notes]
    return max(set(kinds), key=kinds.count).replace("|", "/")


def main(
    write: Path = Path("dev/benchmarks/channels.md"), title: str = "Information that passes from one job to another"
) -> None:
    """Print the tables and write them to a file."""
    results = {level: rows(level) for level in LEVELS}
    lines: list[str] = []

    def write_line(text: str) -> None:
        print(text, flush=True)
        lines.append(text)

    write_line(f"# {title}\n")
    write_line(
        f"`python -m dev.benchmarks.channels`, {date.today()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"Linux {platform.release()}, uid {os.geteuid()}. {METHOD}"
    )
    for level in LEVELS:
        table(level, results[level], write_line)
    write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    typer.run(main)

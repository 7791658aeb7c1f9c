"""Lies against the proof: are its bounds true, and what would an optimal liar gain? Simulated.

    .venv/bin/python -m dev.benchmarks.honesty [--losses A.npy --losses B.npy]

With two files of losses (trials/RUN/NNNN/m_*/losses.npy of an incumbent, two seeds) pocket's stream is real; without,
and for the GPU profiles, tokens are drawn: losses exponential about a mean, two models apart by a normal difference.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log, sqrt
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from experiments.tiers import FULL_H100, FULL_POCKET, RECORD_H100, RECORD_POCKET, Tier
from preflight import places
from preflight.proof import ROUNDING_NATS, SUM_TOLERANCE

Floats = npt.NDArray[np.float64]
NATS = 12.0  # what a rare lie claims to know better
RECORDS = {"pocket, record": RECORD_POCKET, "h100, record": RECORD_H100}
# Places of a proof, and proofs of a keep (search, repeat, two fresh) or of a record, which may lie on validation alone
BEFORE = {"pocket": (512, 4), "h100": (4_096, 4), "pocket, record": (4_096, 3), "h100, record": (32_768, 3)}
UNREAD_BEFORE = {"h100": 0.9, "h100, record": 0.98}  # of dev and of validation, always the same part
# A lie may stand where the proofs of search and repeat end: on GPUs only those of the two fresh seeds read all.
NOW = {"pocket": 4, "h100": 2, "pocket, record": 3, "h100, record": 3}


@dataclass(frozen=True)
class Stream:
    """One profile's tokens: an incumbent's losses, and an honest candidate's that is no better."""

    name: str
    tier: Tier
    incumbent: Floats
    candidate: Floats
    bpb_per_nat: float

    @property
    def floor_bpb(self) -> float:
        return self.tier.expected_noise.difference_sd

    @property
    def gain(self) -> float:
        """What two equals gain over one another, token by token, in nats."""
        return float(np.maximum(self.incumbent - self.candidate, 0.0).mean())


def drawn(name: str, tier: Tier, count: int, mean: float, apart: float, bpb_per_nat: float) -> Stream:
    rng = np.random.default_rng(0)
    shared = rng.exponential(mean, count)
    incumbent, candidate = (np.maximum(shared + apart / sqrt(2) * rng.normal(size=count), 1e-4) for _ in range(2))
    return Stream(name, tier, incumbent, candidate, bpb_per_nat)


def main(losses: Annotated[list[Path], typer.Option(help="two seeds of one model")] = []) -> None:  # noqa: B006
    pocket = drawn("pocket", FULL_POCKET, 147_964, 3.0, 0.35, 0.63)
    if len(losses) == 2:
        one, other = (np.load(path).astype(np.float64) for path in losses)
        pocket = Stream("pocket", FULL_POCKET, one, other, 0.63)
    streams = [pocket, drawn("h100", FULL_H100, 1_000_000, 2.1, 0.15, 0.59)]
    print("| profile | tokens | losses of equals differ by (rms) | gain of equals, nats a token | noise floor, bpb |")
    print("|---|---|---|---|---|")
    for one_stream in streams:
        apart = float(np.sqrt(np.square(one_stream.incumbent - one_stream.candidate).mean()))
        facts = f"{len(one_stream.incumbent):,} | {apart:.3f} | {one_stream.gain:.4f} | {one_stream.floor_bpb:.5f}"
        print(f"| {one_stream.name} | {facts} |")
    for one_stream in streams:
        bounds(one_stream)
    for one_stream in streams:
        gains(one_stream)
    for (name, tier), one_stream in zip(RECORDS.items(), streams, strict=True):
        gains(replace(one_stream, name=name, tier=tier))


def bounds(stream: Stream, runs: int = 2_000) -> None:
    """How often a bound is exceeded: of smooth lies at random, of larger ones at the edge of what is stated."""
    rng = np.random.default_rng(1)
    part = rng.choice(len(stream.incumbent), min(100_000, len(stream.incumbent)), replace=False)
    incumbent, honest = stream.incumbent[part], stream.candidate[part]
    tolerance, over, off, unmet, count = ROUNDING_NATS, 0, [], [], stream.tier.proof_places
    for _ in range(runs):
        size, rate, order = rng.random(), 10.0 ** rng.uniform(-4, 0), _order(rng, honest, incumbent)
        smooth = np.where(order >= np.quantile(order, 1.0 - rate), tolerance * size, 0.0)
        asked = places.draw(*_both(honest - smooth, incumbent), count, rng)
        found = places.gap(smooth[asked.chosen], asked, tolerance)
        over += smooth[1:].mean() > found.bound
        off.append(found.mean - smooth[1:].mean())
    for _ in range(runs // 2):  # just as many lies as are said to be met with 99 %: at worst by the even places alone
        asked = places.draw(*_both(honest, incumbent), count, rng)
        order = -honest if rng.random() < 0.5 else _order(rng, honest, incumbent)
        lied = order >= np.quantile(order, 1.0 - asked.missed_share / asked.even_share)
        unmet.append(not lied[asked.chosen].any())
    print(f"\n{stream.name}, {runs:,} smooth lies, {count} places:")
    error = float(np.std(off) / sqrt(runs))
    print(f"- gap: bound exceeded in {over / runs:.2%} (states 1 %), estimate off by {np.mean(off):.1e} ± {error:.1e}")
    print(f"- larger lies on the stated share of tokens ({asked.missed_share / asked.even_share:.3%}): ", end="")
    print(f"met at no place in {np.mean(unmet):.2%} of {len(unmet):,} (states 1 %)")


def _order(rng: np.random.Generator, honest: Floats, incumbent: Floats) -> Floats:
    """Which tokens are lied about first: any, those of high loss, those of high gain."""
    return (rng.random(len(honest)), honest, honest - incumbent)[rng.integers(3)]


def _both(claimed: Floats, incumbent: Floats) -> tuple[places.Values, places.Values]:
    return claimed.astype(np.float32), incumbent.astype(np.float32)


def gains(stream: Stream) -> None:
    """What each kind of liar may expect to be credited with, in bpb, at its best size; before and now."""
    k, (before, proofs), now = stream.tier.proof_places, BEFORE[stream.name], NOW[stream.name]
    print(f"\n| {stream.name} | before, bpb | of the floor | now, bpb | of the floor |\n|---|---|---|---|---|")
    worst = ROUNDING_NATS + 2 * 3.25e-4  # with noise faked on the repeated stretch alone
    row(stream, "a shave of every loss within the tolerance", ROUNDING_NATS, charged(stream, ROUNDING_NATS, k))
    row(stream, "the same, noise faked on the repeated stretch", worst, charged(stream, worst, k))
    row(stream, "a normaliser within its tolerance", SUM_TOLERANCE, charged(stream, SUM_TOLERANCE, k))
    evenly = best_rare(lambda rate: float((1.0 - rate) ** (before * proofs)))
    row(stream, f"rare lies of {NATS:g} nats", evenly, best_rare(lambda rate: (1.0 - met(stream, rate)) ** (k * now)))
    mean, unread = float(stream.candidate.mean()), UNREAD_BEFORE.get(stream.name, 0.0)
    row(stream, "lies after the part that is read", unread * mean, 0.0)
    evenly, mixed = best_hidden(before * proofs, mean, 1.0, 0.0), best_hidden(k * now, mean, places.EVEN, places.LOSS)
    row(stream, "surer than it can be, where wrong a middling loss", evenly, mixed)


def row(stream: Stream, name: str, before: float, now: float) -> None:
    values = [value * stream.bpb_per_nat for value in (before, now)]
    print(f"| {name} | " + " | ".join(f"{value:.1e} | {value / stream.floor_bpb:.2%}" for value in values) + " |")


def charged(stream: Stream, shave: float, count: int, runs: int = 400) -> float:
    """Expected credit of a shave: what it takes off, less what is charged for it."""
    rng = np.random.default_rng(2)
    claimed, incumbent = _both(np.maximum(stream.candidate - shave, 0.0), stream.incumbent)
    lies, found = stream.candidate - claimed, []
    for _ in range(runs if len(claimed) < 200_000 else 20):
        places_asked = places.draw(claimed, incumbent, count, rng)
        gap = places.gap(lies[places_asked.chosen], places_asked, 2 * shave)
        found.append(float(lies[1:].mean()) - gap.charge)
    return float(np.mean(found))


def best_rare(missed: Callable[[float], float]) -> float:
    """The best expected credit over the rates of rare lies, in nats; one that is met loses everything."""
    return max(float(rate * NATS * missed(rate)) for rate in 10.0 ** np.linspace(-7, -2, 400))


def met(stream: Stream, rate: float) -> float:
    """Chance of one place to be on a rare lie: in proportion to its share of the gain, and evenly."""
    share = rate * NATS / (stream.gain + rate * NATS)
    return places.GAIN * share + places.EVEN * rate


def best_hidden(count: int, mean: float, even_share: float, loss_share: float) -> float:
    """In nats, of a liar that calls tokens certain that it knows to 1 - e, and hides the loss where it was wrong.

    It gains -log(1 - e) on those that it has right, honestly, by distributions on the table; what it hides is a share e
    of them, at which it claims the log(1 / e) that an honest model would: no gain, but a loss by which it may be met.
    """
    best = 0.0
    for e in 10.0 ** np.linspace(-5, -0.05, 200):
        for known in 10.0 ** np.linspace(-5, -0.3, 200):  # share of such tokens
            q = e * known * (even_share + loss_share * log(1 / e) / mean)
            best = max(best, float(-known * (1.0 - e) * np.log(1.0 - e) * (1.0 - q) ** count))
    return best


if __name__ == "__main__":
    typer.run(main)

"""Simulate tampering against the audit: the validity of its bounds, and the gain of optimal tampering.

    .venv/bin/python -m dev.benchmarks.simulations.audit [--losses A.npy --losses B.npy]

With two files of losses (trials/RUN/NNNN/m_*/losses.npy of an incumbent, two seeds) pocket's stream is real. Otherwise,
and for the GPU profiles, losses are drawn: exponential about a mean, with a normal difference between two models.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log, sqrt
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from experiments.tiers import PROFILES, Tier
from preflight.scoring import positions
from preflight.scoring.audit import ROUNDING_NATS, SUM_TOLERANCE

Floats = npt.NDArray[np.float64]
NATS = 12.0  # by which sparse tampering lowers a loss
FULL_POCKET, FULL_H100 = PROFILES["pocket"].tier, PROFILES["h100"].tier
RECORDS = {f"{name}, record": tier for name in ("pocket", "h100") if (tier := PROFILES[name].record)}
# Probe positions of an audit, and audits of a keep (search, repeat, two fresh) or of a record, which may tamper with
# validation alone
BEFORE = {"pocket": (512, 4), "h100": (4_096, 4), "pocket, record": (4_096, 3), "h100, record": (32_768, 3)}
UNREAD_BEFORE = {"h100": 0.9, "h100, record": 0.98}  # of dev and of validation, always the same part
# Tampering may be placed after the end of the search and repeat audits: on GPUs only the two fresh seeds' read all.
NOW = {"pocket": 4, "h100": 2, "pocket, record": 3, "h100, record": 3}


@dataclass(frozen=True)
class Stream:
    """One profile's tokens: the losses of an incumbent and of an untampered candidate that is no better."""

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
        """Mean gain of the candidate over its equal, counting only tokens where it is better, in nats."""
        return float(np.maximum(self.incumbent - self.candidate, 0.0).mean())


def draw_stream(name: str, tier: Tier, count: int, mean: float, apart: float, bpb_per_nat: float) -> Stream:
    """Draw the losses of two equal models that differ by `apart` nats (rms)."""
    rng = np.random.default_rng(0)
    shared = rng.exponential(mean, count)
    incumbent, candidate = (np.maximum(shared + apart / sqrt(2) * rng.normal(size=count), 1e-4) for _ in range(2))
    return Stream(name, tier, incumbent, candidate, bpb_per_nat)


def main(losses: Annotated[list[Path], typer.Option(help="two seeds of one model")] = []) -> None:  # noqa: B006
    """Print the tables of audit.md."""
    pocket = draw_stream("pocket", FULL_POCKET, 147_964, 3.0, 0.35, 0.63)
    if len(losses) == 2:
        incumbent, candidate = (np.load(path).astype(np.float64) for path in losses)
        pocket = Stream("pocket", FULL_POCKET, incumbent, candidate, 0.63)
    streams = [pocket, draw_stream("h100", FULL_H100, 1_000_000, 2.1, 0.15, 0.59)]
    print("| profile | tokens | losses of equals differ by (rms) | gain of equals, nats a token | noise floor, bpb |")
    print("|---|---|---|---|---|")
    for stream in streams:
        apart = float(np.sqrt(np.square(stream.incumbent - stream.candidate).mean()))
        facts = f"{len(stream.incumbent):,} | {apart:.3f} | {stream.gain:.4f} | {stream.floor_bpb:.5f}"
        print(f"| {stream.name} | {facts} |")
    for stream in streams:
        bounds(stream)
    for stream in streams:
        gains(stream)
    for (name, tier), stream in zip(RECORDS.items(), streams, strict=True):
        gains(replace(stream, name=name, tier=tier))


def bounds(stream: Stream, runs: int = 2_000) -> None:
    """Count how often a bound is exceeded: by random systematic bias, and by sparse tampering of the stated share."""
    rng = np.random.default_rng(1)
    part = rng.choice(len(stream.incumbent), min(100_000, len(stream.incumbent)), replace=False)
    incumbent, untampered = stream.incumbent[part], stream.candidate[part]
    tolerance, over, off, missed, count = ROUNDING_NATS, 0, [], [], stream.tier.audit_positions
    for _ in range(runs):
        size, rate, order = rng.random(), 10.0 ** rng.uniform(-4, 0), _order(rng, untampered, incumbent)
        bias = np.where(order >= np.quantile(order, 1.0 - rate), tolerance * size, 0.0)
        probes = positions.draw(*_both(untampered - bias, incumbent), count, rng)
        gap = positions.gap(bias[probes.chosen], probes, tolerance)
        over += bias[1:].mean() > gap.bound
        off.append(gap.mean - bias[1:].mean())
    for _ in range(runs // 2):  # tampering at the share detected with 99 %, at worst by the even positions alone
        probes = positions.draw(*_both(untampered, incumbent), count, rng)
        order = -untampered if rng.random() < 0.5 else _order(rng, untampered, incumbent)
        tampered = order >= np.quantile(order, 1.0 - probes.missed_share / probes.even_share)
        missed.append(not tampered[probes.chosen].any())
    print(f"\n{stream.name}, {runs:,} systematic biases, {count} probe positions:")
    error = float(np.std(off) / sqrt(runs))
    print(f"- gap: bound exceeded in {over / runs:.2%} (states 1 %), estimate off by {np.mean(off):.1e} ± {error:.1e}")
    print(f"- sparse tampering of the stated share of tokens ({probes.missed_share / probes.even_share:.3%}): ", end="")
    print(f"missed by every probe in {np.mean(missed):.2%} of {len(missed):,} (states 1 %)")


def _order(rng: np.random.Generator, untampered: Floats, incumbent: Floats) -> Floats:
    """Draw which tokens are tampered with first: any, those of high loss, or those of high gain."""
    return (rng.random(len(untampered)), untampered, untampered - incumbent)[rng.integers(3)]


def _both(claimed: Floats, incumbent: Floats) -> tuple[positions.Values, positions.Values]:
    return claimed.astype(np.float32), incumbent.astype(np.float32)


def gains(stream: Stream) -> None:
    """Print the expected credit of each kind of tampering in bpb, at its best size, before and now."""
    k, (before, audits), now = stream.tier.audit_positions, BEFORE[stream.name], NOW[stream.name]
    print(f"\n| {stream.name} | before, bpb | of the floor | now, bpb | of the floor |\n|---|---|---|---|---|")
    worst = ROUNDING_NATS + 2 * 3.25e-4  # with noise faked on the repeated stretch alone
    row(stream, "a shave of every loss within the tolerance", ROUNDING_NATS, charged(stream, ROUNDING_NATS, k))
    row(stream, "the same, noise faked on the repeated stretch", worst, charged(stream, worst, k))
    row(stream, "a normalizer within its tolerance", SUM_TOLERANCE, charged(stream, SUM_TOLERANCE, k))
    evenly = best_sparse(lambda rate: float((1.0 - rate) ** (before * audits)))
    mixed = best_sparse(lambda rate: (1.0 - hit(stream, rate)) ** (k * now))
    row(stream, f"sparse tampering of {NATS:g} nats", evenly, mixed)
    mean, unread = float(stream.candidate.mean()), UNREAD_BEFORE.get(stream.name, 0.0)
    row(stream, "tampering after the part that is read", unread * mean, 0.0)
    evenly, mixed = (
        best_hidden(before * audits, mean, 1.0, 0.0),
        best_hidden(k * now, mean, positions.EVEN, positions.LOSS),
    )
    row(stream, "overconfidence, with wrong tokens hidden behind a middling loss", evenly, mixed)


def row(stream: Stream, name: str, before: float, now: float) -> None:
    """Print one row of the table, from credits in nats."""
    values = [value * stream.bpb_per_nat for value in (before, now)]
    print(f"| {name} | " + " | ".join(f"{value:.1e} | {value / stream.floor_bpb:.2%}" for value in values) + " |")


def charged(stream: Stream, shave: float, count: int, runs: int = 400) -> float:
    """Return the expected credit of a shave: the reduction, less the charge for it."""
    rng = np.random.default_rng(2)
    claimed, incumbent = _both(np.maximum(stream.candidate - shave, 0.0), stream.incumbent)
    bias, credits = stream.candidate - claimed, []
    for _ in range(runs if len(claimed) < 200_000 else 20):
        probes = positions.draw(claimed, incumbent, count, rng)
        gap = positions.gap(bias[probes.chosen], probes, 2 * shave)
        credits.append(float(bias[1:].mean()) - gap.charge)
    return float(np.mean(credits))


def best_sparse(missed: Callable[[float], float]) -> float:
    """Return the best expected credit over the rates of sparse tampering, in nats; detection loses everything."""
    return max(float(rate * NATS * missed(rate)) for rate in 10.0 ** np.linspace(-7, -2, 400))


def hit(stream: Stream, rate: float) -> float:
    """Return the chance that one probe hits sparse tampering: in proportion to its share of the gain, and evenly."""
    share = rate * NATS / (stream.gain + rate * NATS)
    return positions.GAIN * share + positions.EVEN * rate


def best_hidden(count: int, mean: float, even_share: float, loss_share: float) -> float:
    """Return the best credit of overconfidence, in nats: certainty on tokens known to 1 - e, with wrong ones hidden.

    The model gains -log(1 - e) on the tokens that it gets right, by distributions that it really states. It hides the
    share e that it gets wrong by claiming the log(1 / e) of an untampered model there: no gain, but a loss that a probe
    may hit.
    """
    best = 0.0
    for e in 10.0 ** np.linspace(-5, -0.05, 200):
        for share in 10.0 ** np.linspace(-5, -0.3, 200):  # of such tokens
            q = e * share * (even_share + loss_share * log(1 / e) / mean)
            best = max(best, float(-share * (1.0 - e) * np.log(1.0 - e) * (1.0 - q) ** count))
    return best


if __name__ == "__main__":
    typer.run(main)

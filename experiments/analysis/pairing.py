"""Paired comparison: the seeds of a generation, the differences on shared seeds, and the noise floor.

A generation is the set of seeds that candidates are compared with the incumbent on: at first the baseline's replicates,
then the seeds of the last re-measurement, which had no part in choosing anything. Everything here is read from the
ledger.
"""

import json
from collections.abc import Iterator, Sequence
from secrets import randbelow
from statistics import stdev

from common.state import State
from experiments.judge.noise import Noise, loss_bound
from experiments.ledger.rows import MeasurementRow, Row
from experiments.ledger.store import Ledger
from experiments.tiers import Tier

WEIGHTS = "weights"  # the ledger's tier for measurements on an incumbent's checkpoints (trial/same_weights.py)
NOISE_SHARE = 0.05  # of the tier's noise: the spread of differences there (dev/benchmarks/quantisation.md)
NOISE_DEGREES = 4.0
# States of a trial whose re-measurement on fresh seeds was finished
REMEASURED = (State.KEPT, State.KEPT_BY_PERSON, State.REVERTED, State.REVERTED_BY_PERSON)


def same_weights_noise(tier: Tier, differences: Sequence[float] = ()) -> Noise:
    """Return the noise of differences on the same weights: a small share of the tier's, or their own if that is more.

    At few bits such differences spread as widely as they are large (dev/benchmarks/quantisation.md).
    """
    usual = NOISE_SHARE * tier.expected_noise.difference_sd
    return Noise.expected(max(usual, stdev(differences) if len(differences) > 1 else 0.0), NOISE_DEGREES)


def new_seeds(count: int) -> list[int]:
    """Draw seeds from the system's randomness: no proposal can have been written for them."""
    return [1 + randbelow(2**31 - 2) for _ in range(count)]


def reference_seeds(ledger: Ledger, incumbent: Row, tier: Tier, before: int | None = None) -> dict[int, float]:
    """Return the incumbent's bits per byte by seed, on the seeds that candidates are compared on.

    With `before`, the seeds that trial `before` was compared on.
    """
    rows = [row for row in ledger.measurement_rows(incumbent.number) if row.tier == tier.name]
    batches = {row.fresh_for for row in rows if row.fresh_for is not None}
    finished = [row.number for row in ledger.rows() if row.number in batches and row.state in REMEASURED]
    newest = max((number for number in finished if before is None or number < before), default=None)
    return {row.measured.seed: row.measured.val_bpb for row in rows if row.fresh_for == newest}


def differences(ledger: Ledger, row: Row, tier_name: str, fresh: bool) -> list[float]:
    """Return candidate minus parent in the order of measurement, of the search or (`fresh`) of the re-measurement."""
    return [candidate - parent for _, candidate, parent in pairs(ledger, row, tier_name, fresh)]


def pairs(ledger: Ledger, row: Row, tier_name: str, fresh: bool) -> list[tuple[int, float, float]]:
    """Return (seed, candidate's, parent's) bits per byte of each seed that both were measured on."""
    parent = ledger.with_commit(row.parent)
    if parent is None or parent.number == row.number:  # the baseline is its own parent
        return []
    parent_rows = [stored for stored in ledger.measurement_rows(parent.number) if stored.tier == tier_name]
    parent_bpb = {stored.measured.seed: stored.measured.val_bpb for stored in parent_rows}
    own_rows = [stored for stored in ledger.measurement_rows(row.number) if stored.tier == tier_name]
    measured = [stored.measured for stored in own_rows if belongs_to(stored, row, fresh)]
    return [(own.seed, own.val_bpb, parent_bpb[own.seed]) for own in measured if own.seed in parent_bpb]


def simplification_cost(ledger: Ledger, tier: Tier, noise: Noise, before: int | None = None) -> float:
    """Return the bits per byte that kept removals of code may have cost so far (before trial `before`)."""
    rows = [row for row in ledger.rows() if row.state is State.KEPT and (before is None or row.number < before)]
    removals = [row for row in rows if (row.net_code_lines or 0) < 0]
    return sum(loss_bound(differences(ledger, row, tier.name, fresh=True), noise) for row in removals)


def is_simplification(row: Row, incumbent: Row) -> bool:
    """Return True if a trial removes lines of code but no knob: a technique that is switched off is worth keeping."""
    knobs, incumbent_knobs = (json.loads(trial.knobs or "{}").keys() for trial in (row, incumbent))
    return (row.net_code_lines or 0) < 0 and incumbent_knobs <= knobs


def belongs_to(stored: MeasurementRow, row: Row, fresh: bool) -> bool:
    """Return True for a measurement of a trial's own search, or (`fresh`) of its own re-measurement.

    Measurements that a trial gets later, as the incumbent, belong to the trials that asked for them.
    """
    return stored.fresh_for == (row.number if fresh else None)


def noise_floor(ledger: Ledger, tier: Tier) -> Noise:
    """Return the noise that the tier expects, updated by every replicate so far."""
    return _with_replicates(tier.expected_noise, ledger, tier, ledger.rows())


def noise_by_trial(ledger: Ledger, tier: Tier) -> Iterator[tuple[Row, Noise]]:
    """Yield each trial with the noise floor at the time it began."""
    noise = tier.expected_noise
    for row in ledger.rows():
        yield row, noise
        noise = _with_replicates(noise, ledger, tier, [row])


def _with_replicates(noise: Noise, ledger: Ledger, tier: Tier, rows: list[Row]) -> Noise:
    """Update the noise with finished batches of incumbents only: candidates could widen or narrow it at will."""
    for row in rows:
        if row.state is State.BASELINE:
            noise = noise.with_replicates(_batch(ledger, row, tier, None))
        if row.state in REMEASURED:
            incumbent = ledger.with_commit(row.parent)
            if incumbent and incumbent.state.is_kept:
                noise = noise.with_replicates(_batch(ledger, incumbent, tier, row.number))
        if row.state.is_kept and row.state is not State.BASELINE:
            noise = noise.with_replicates(_batch(ledger, row, tier, row.number))
    return noise


def _batch(ledger: Ledger, row: Row, tier: Tier, fresh_for: int | None) -> list[float]:
    rows = [stored for stored in ledger.measurement_rows(row.number) if stored.tier == tier.name]
    return [stored.measured.val_bpb for stored in rows if stored.fresh_for == fresh_for]

"""Paired gains: each trial's difference to its incumbent with its error, and the sum of what was kept.

Differences are taken seed by seed. Values of different trials are not comparable: later trials run on other seeds and
other data.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

from common.state import State
from experiments.analysis.pairing import WEIGHTS, differences, noise_floor, same_weights_noise
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.tiers import Tier

WHY = (
    "paired: the difference to the incumbent of its time, seed by seed, ± one standard error (seeds). val_bpb is over "
    "other seeds and data from one trial to the next, so a lower val_bpb can still be a loss"
)


@dataclass(frozen=True)
class Gain:
    """A mean of paired differences in bits per byte (negative is better), its standard error, and its seeds."""

    mean: float
    error: float
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:+.4f} ±{self.error:.4f} ({self.seeds})"


def gains(ledger: Ledger, tier: Tier, rows: Iterable[Row]) -> dict[int, Gain]:
    """Return the gain of each trial that was compared: on fresh seeds if it has any, else on those of the search."""
    sd = noise_floor(ledger, tier).difference_sd
    found = {}
    for row in rows:
        if row.delta_bpb is not None:
            measured = differences(ledger, row, row.tier, fresh=True) or differences(ledger, row, row.tier, fresh=False)
            on_weights = [stored for stored in ledger.measurement_rows(row.number) if stored.tier == WEIGHTS]
            count = len(measured) or len(on_weights) or 1
            spread = same_weights_noise(tier).difference_sd if on_weights and not measured else sd
            found[row.number] = Gain(fmean(measured) if measured else row.delta_bpb, spread / sqrt(count), count)
    return found


def total(ledger: Ledger, tier: Tier) -> Gain | None:
    """Return the sum of the gains that the judge kept, each on fresh seeds; None if it kept nothing."""
    kept = [row for row in ledger.rows() if row.state is State.KEPT]
    parts = gains(ledger, tier, kept).values()
    if not parts:
        return None
    return Gain(sum(part.mean for part in parts), sqrt(sum(part.error**2 for part in parts)), len(kept))


def total_sentence(ledger: Ledger, tier: Tier) -> str:
    """Return the run's result in a sentence; what a person kept is named and not counted."""
    by_person = [row for row in ledger.rows() if row.state is State.KEPT_BY_PERSON]
    gain = total(ledger, tier)
    if gain is None:
        text = "nothing kept so far"
    else:
        what = "a trial" if gain.seeds == 1 else f"{gain.seeds} trials"
        text = f"{gain.mean:+.4f} ±{gain.error:.4f} bpb by {what} that the judge kept, paired on fresh seeds"
    if by_person:
        listed = ", ".join(f"{row.number:04d}" for row in by_person)
        text += f"; not counted: {listed}, kept by a person"
    return text

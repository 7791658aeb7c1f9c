"""Do some seeds beat others by a margin? Welch's one-sided test, as the challenge's records were judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scipy.special import stdtr

from data.errors import CaddieError


@dataclass(frozen=True)
class Sample:
    """A published mean where the seeds are not known; `sd` is the sample's (n - 1)."""

    mean: float
    sd: float
    count: int

    @classmethod
    def of(cls, values: "Sequence[float] | Sample") -> "Sample":
        count = values.count if isinstance(values, Sample) else len(values)
        if count < 2:
            raise CaddieError(
                f"got {count} seed, expected at least 2; run more, or give a number that is taken as exact"
            )
        return values if isinstance(values, Sample) else cls(fmean(values), stdev(values), count)


@dataclass(frozen=True)
class Welch:
    """A one-sided test that the new mean lies below the reference's by more than the margin."""

    p_value: float
    t: float
    df: float
    standard_error: float  # of the difference of means


def welch(new: Sequence[float] | Sample, reference: Sequence[float] | Sample | float, margin: float = 0.0) -> Welch:
    """Is the mean of `new` below the mean of `reference` minus `margin`? All three in one unit, lower is better.

    A number as reference is taken as exact: then it is the one-sample test. Welch 1947, with Satterthwaite's degrees
    of freedom; the sample's spread, never the population's (rules.md section 8 names who confused them).
    """
    ours = Sample.of(new)
    theirs = Sample(float(reference), 0.0, 2) if isinstance(reference, int | float) else Sample.of(reference)
    square = theirs.sd**2 / theirs.count
    own = ours.sd**2 / ours.count
    if not own + square > 0.0:
        raise CaddieError("got no spread on either side, expected seeds that matter; is the seed ignored?")
    error = sqrt(own + square)
    t = (ours.mean - (theirs.mean - margin)) / error
    df = (own + square) ** 2 / (own**2 / (ours.count - 1) + square**2 / (theirs.count - 1))
    return Welch(float(stdtr(df, t)), t, df, error)

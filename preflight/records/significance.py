"""Welch's one-sided test of whether some seeds beat others by a margin, as the challenge's records were judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scipy.special import stdtr

from common.errors import CaddieError


@dataclass(frozen=True)
class Sample:
    """Summary statistics for a result whose seeds are not published; `sd` is the sample's (n - 1)."""

    mean: float
    sd: float
    count: int

    @classmethod
    def of(cls, values: "Sequence[float] | Sample") -> "Sample":
        """Summarize values; raises CaddieError for fewer than 2."""
        count = values.count if isinstance(values, Sample) else len(values)
        if count < 2:
            raise CaddieError(
                f"got {count} seed, expected at least 2; run more, or give a single number, which is taken as exact"
            )
        return values if isinstance(values, Sample) else cls(fmean(values), stdev(values), count)


@dataclass(frozen=True)
class Welch:
    """The result of a one-sided test that the new mean lies below the reference's by more than the margin."""

    p_value: float
    t: float
    df: float
    standard_error: float  # of the difference of means


def welch(new: Sequence[float] | Sample, reference: Sequence[float] | Sample | float, margin: float = 0.0) -> Welch:
    """Test whether the mean of `new` is below the mean of `reference` by more than `margin`; lower is better.

    Welch 1947, with Satterthwaite's degrees of freedom and the sample's standard deviation, not the population's
    (rules.md section 8 lists records that confused them).

    Args:
        new: The new seeds' values.
        reference: The values to beat; a single number is taken as exact, which makes it the one-sample test.
        margin: Difference to exceed, in the unit of the values.

    Raises:
        CaddieError: A side has fewer than 2 seeds, or neither side has any spread.

    Example:
        >>> welch([1.1005, 1.1010, 1.1015], [1.110, 1.111, 1.112], margin=0.003).p_value < 0.01
        True
    """
    sample = Sample.of(new)
    other = Sample(float(reference), 0.0, 2) if isinstance(reference, int | float) else Sample.of(reference)
    other_variance = other.sd**2 / other.count  # of the mean
    variance = sample.sd**2 / sample.count
    if not variance + other_variance > 0.0:
        raise CaddieError("got no spread on either side, expected seeds that matter; is the seed ignored?")
    error = sqrt(variance + other_variance)
    t = (sample.mean - (other.mean - margin)) / error
    df = (variance + other_variance) ** 2 / (variance**2 / (sample.count - 1) + other_variance**2 / (other.count - 1))
    return Welch(float(stdtr(df, t)), t, df, error)

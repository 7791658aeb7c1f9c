"""The noise of a paired difference: how far equal trees differ, and which effects that hides."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from experiments.judge import student_t

SIGNIFICANCE, POWER = 0.05, 0.8  # of a two-sided test, and of detecting a true effect


@dataclass(frozen=True)
class Noise:
    """The spread of a difference between two equal trees, pooled from every replicate of an incumbent.

    Trees that share part of their random stream differ by less, but by how much depends on the change: nothing is
    assumed about it.
    """

    squares: float  # the sum of squares, in bpb squared
    degrees: float  # of freedom

    @classmethod
    def expected(cls, difference_sd: float, degrees: float = 4.0) -> "Noise":
        """Return the noise that a tier expects before any measurement, with the weight of `degrees` + 1 replicates."""
        return cls(degrees * difference_sd**2, degrees)

    def with_replicates(self, values: Sequence[float]) -> "Noise":
        """Pool the values of one tree on several seeds; a difference of two of them spreads sqrt(2) times as far."""
        if len(values) < 2:
            return self
        return Noise(self.squares + 2 * (len(values) - 1) * stdev(values) ** 2, self.degrees + len(values) - 1)

    @property
    def difference_sd(self) -> float:
        """The standard deviation of one paired difference."""
        return sqrt(self.squares / self.degrees)

    def p_value(self, mean: float, pairs: int) -> float:
        """Return the one-sided p-value of a mean difference: the chance that pairs of equal trees show one this low."""
        error = self.difference_sd / sqrt(pairs)
        return student_t.cdf(mean / error, self.degrees) if error else float(mean >= 0.0)


def loss_bound(differences: Sequence[float], noise: Noise) -> float:
    """Return the 80 % upper bound of a kept removal's loss in bpb; losses equal to the last bit have lost nothing."""
    if not any(differences):
        return 0.0
    reach = student_t.quantile(POWER, noise.degrees) * noise.difference_sd / sqrt(len(differences))
    return max(fmean(differences) + reach, 0.0)


@dataclass(frozen=True)
class Paired:
    """The differences between two arms on shared seeds: mean, standard error, and the smallest detectable effect."""

    mean: float
    standard_error: float
    detectable: float  # true differences of this size are detected with probability POWER
    pairs: int

    @property
    def resolved(self) -> bool:
        """True if the mean is larger than the detectable effect."""
        return abs(self.mean) > self.detectable


def paired(differences: list[float]) -> Paired:
    """Summarize at least two differences, one for each seed.

    The detectable effect is (t_97.5% + t_80%) standard errors.
    """
    pairs = len(differences)
    error = stdev(differences) / sqrt(pairs)
    reach = student_t.quantile(1 - SIGNIFICANCE / 2, pairs - 1) + student_t.quantile(POWER, pairs - 1)
    return Paired(fmean(differences), error, reach * error, pairs)

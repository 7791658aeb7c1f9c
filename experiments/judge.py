"""What counts as better: the same seeds on both sides, and a margin stated beforehand."""

from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scipy.special import stdtrit

from data.errors import CaddieError
from experiments.job import Measured


@dataclass(frozen=True)
class Judgement:
    """The mean difference over seeds (negative = better) and what follows from it."""

    delta_bpb: float
    kept: bool
    reason: str


def judge(candidate: list[Measured], incumbent: list[Measured], margin_bpb: float) -> Judgement:
    """Keep what beats the incumbent on the same seeds by more than the margin."""
    before = {measured.seed: measured.val_bpb for measured in incumbent}
    missing = [measured.seed for measured in candidate if measured.seed not in before]
    if missing or not candidate:
        raise CaddieError(f"expected the incumbent measured on seeds {missing}; measure it again first")
    delta = fmean(measured.val_bpb - before[measured.seed] for measured in candidate)
    kept = delta < -margin_bpb
    reason = f"delta {delta:+.4f} bpb on {len(candidate)} shared seed(s), a keep needs less than {-margin_bpb:+.4f}"
    return Judgement(delta, kept, reason)


SIGNIFICANCE, POWER = 0.05, 0.8  # of a two-sided test, and of finding an effect that is there


@dataclass(frozen=True)
class Paired:
    """Differences between two arms on shared seeds: their mean, its standard error, and the effect worth believing."""

    mean: float
    standard_error: float
    detectable: float  # true differences of this size are found with probability POWER
    pairs: int

    @property
    def resolved(self) -> bool:
        return abs(self.mean) > self.detectable


def paired(differences: list[float]) -> Paired:
    """At least two differences, of one seed each; the detectable effect is (t_97.5% + t_80%) standard errors."""
    pairs = len(differences)
    error = stdev(differences) / sqrt(pairs)
    reach = stdtrit(pairs - 1, 1 - SIGNIFICANCE / 2) + stdtrit(pairs - 1, POWER)
    return Paired(fmean(differences), error, float(reach) * error, pairs)

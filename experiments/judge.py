"""What counts as better: the same seeds on both sides, and a margin stated beforehand."""

from dataclasses import dataclass
from statistics import fmean

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

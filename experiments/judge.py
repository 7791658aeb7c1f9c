"""What counts as better: paired seeds, a gray zone that earns more of them, fresh seeds before anything is believed.

A rule reads differences in bits per byte between candidate and incumbent, seed by seed (negative = better), against
the noise floor, and says: drop, look again, or confirm. What it confirms is measured on seeds that had no part in the
choice, since the best of many noisy numbers is too good to be true. Which rule is in use, and why, is measured in
dev/benchmarks/judge.md. Group sequential tests: Jennison & Turnbull 2000.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from math import inf, sqrt
from statistics import fmean, stdev

from scipy.special import stdtr, stdtrit

from data.errors import CaddieError
from preflight.text import one_line

SIGNIFICANCE, POWER = 0.05, 0.8  # of a two-sided test, and of finding an effect that is there


@dataclass(frozen=True)
class Noise:
    """The spread of a difference between two equal trees, pooled from every replicate of an incumbent.

    Trees that share part of their random stream differ by less, but how much depends on the change: nothing is assumed.
    """

    squares: float  # bpb squared, summed
    degrees: float  # of freedom

    @classmethod
    def expected(cls, difference_sd: float, degrees: float = 4.0) -> "Noise":
        """What a tier expects before anything is measured; weighs as much as `degrees` + 1 replicates."""
        return cls(degrees * difference_sd**2, degrees)

    def with_replicates(self, values: Sequence[float]) -> "Noise":
        """One tree on several seeds; a difference of two such values spreads sqrt(2) times as far."""
        if len(values) < 2:
            return self
        return Noise(self.squares + 2 * (len(values) - 1) * stdev(values) ** 2, self.degrees + len(values) - 1)

    @property
    def difference_sd(self) -> float:
        return sqrt(self.squares / self.degrees)

    def p_value(self, mean: float, pairs: int) -> float:
        """One-sided: how often pairs of equals would show a mean difference this low."""
        error = self.difference_sd / sqrt(pairs)
        return float(stdtr(self.degrees, mean / error)) if error else float(mean >= 0.0)


class Step(StrEnum):
    """What a rule asks for next, or how it ends."""

    SEARCH = "measure another of the generation's seeds"
    FRESH = "measure a fresh seed, both sides"
    KEPT = "kept"
    DISCARDED = "discarded"
    REVERTED = "reverted"


ENDS = (Step.KEPT, Step.DISCARDED, Step.REVERTED)


@dataclass(frozen=True)
class Rule:
    """p-values are one-sided: the chance of a mean at least this good if the change did nothing."""

    seeds: int = 3  # of the first generation; a candidate has one, and earns the others in the gray zone
    least: int = 1  # seeds before the first decision
    drop_p: float = 0.5  # from it on: discarded; below it and above keep_p is the gray zone
    keep_p: float = 0.1  # below it: a provisional keep
    fresh: int = 2  # seeds of the re-measurement, the next generation's; 0 = the first numbers are believed
    confirm_p: float = 0.2  # below it on fresh seeds: kept, else reverted
    lines_per_effect: float = 200.0  # net added lines that must earn one detectable effect; inf = lines are free
    lines_per_margin: float = 20.0  # net removed lines that may lose up to one; fewer in proportion

    def __post_init__(self) -> None:
        counts = min(self.seeds, self.least) >= 1 and self.fresh >= 0
        lines = min(self.lines_per_effect, self.lines_per_margin) > 0
        if not (counts and lines and all(0 < chance < 1 for chance in (self.drop_p, self.keep_p, self.confirm_p))):
            raise CaddieError(f"got {self}, expected seeds, least from 1, fresh from 0, p in 0 to 1, lines above 0")

    def detectable(self, noise: Noise, seeds: int | None = None) -> float:
        """The true gain in bpb that one look at so many seeds (default: a first generation's) shows in POWER of cases.

        Of trials with such a gain, seven in ten are kept in the end (dev/benchmarks/judge.md).
        """
        reach = stdtrit(noise.degrees, 1 - self.keep_p) + stdtrit(noise.degrees, POWER)
        return float(reach) * noise.difference_sd / sqrt(seeds or self.seeds)

    def handicap(self, net_lines: int, noise: Noise, spent: float = 0.0) -> float:
        """bpb that a change starts behind: added lines must be paid for, a net removal need only be non-inferior.

        `spent` is what earlier removals may have lost (`may_have_lost`): about one detectable effect in a run.
        """
        if self.lines_per_effect == inf:
            return 0.0
        if net_lines >= 0:
            return self.detectable(noise) * net_lines / self.lines_per_effect
        return -max(self.detectable(noise) * min(-net_lines / self.lines_per_margin, 1.0) - spent, 0.0)

    def step(self, evidence: "Evidence", noise: Noise, handicap: float, left: bool, tidier: bool = False) -> Step:
        """What follows from the evidence so far.

        `left`: the generation has a seed that was not measured yet. `tidier`: lines of code went, no knob with them.
        """
        search, fresh = evidence.search, evidence.fresh

        def better(differences: Sequence[float], chance: float) -> bool:
            """Whether luck would do as well with less than this chance; equals had no luck, and need no allowance."""
            if not any(differences):
                return chance > 0.5 or (tidier and self.lines_per_effect < inf)
            return noise.p_value(fmean(differences) + handicap, len(differences)) < chance

        if len(search) < self.least and left:
            return Step.SEARCH
        if not better(search, self.keep_p):
            return Step.SEARCH if left and better(search, self.drop_p) else Step.DISCARDED
        if len(fresh) < self.fresh:
            return Step.FRESH
        return Step.KEPT if not fresh or better(fresh, self.confirm_p) else Step.REVERTED


def may_have_lost(differences: Sequence[float], noise: Noise) -> float:
    """The 80 % upper bound of a kept removal's loss in bpb; the same losses to the last bit have lost nothing."""
    if not any(differences):
        return 0.0
    reach = stdtrit(noise.degrees, POWER) * noise.difference_sd / sqrt(len(differences))
    return max(fmean(differences) + float(reach), 0.0)


@dataclass(frozen=True)
class Evidence:
    """Candidate minus incumbent in bpb, seed by seed: on the generation's seeds, and on fresh ones."""

    search: Sequence[float] = ()
    fresh: Sequence[float] = ()

    @property
    def believed(self) -> Sequence[float]:
        """The numbers that had no part in the choice, where there are any."""
        return self.fresh or self.search


RULES = {
    "caddie": Rule(),
    "greedy": Rule(seeds=1, keep_p=0.5, fresh=0, lines_per_effect=inf),  # accepts any lower number
    "confirm": Rule(seeds=3, least=3, keep_p=0.05, fresh=3, confirm_p=0.5),  # everything on 3 + 3
}


def rule_named(text: str, base: Rule = RULES["caddie"]) -> Rule:
    """`greedy`, or `keep_p=0.05,fresh=3` for the rule in use with other thresholds; raises CaddieError."""
    if text in RULES:
        return RULES[text]
    kinds = {field.name: type(getattr(base, field.name)) for field in fields(Rule)}
    values: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or name not in kinds:
            expected = f"{', '.join(RULES)}, or NAME=VALUE of {', '.join(kinds)}"
            raise CaddieError(f"--rule: got {one_line(part, 60)!r}, expected {expected}")
        try:
            values[name] = kinds[name](value)
        except ValueError as error:
            raise CaddieError(f"--rule: {name} expects a number, got {one_line(value, 60)!r}") from error
    return replace(base, **values)  # type: ignore[arg-type]


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

"""The acceptance rule: paired seeds, more of them in the gray zone, and fresh seeds before anything is kept.

A rule reads the differences in bits per byte between candidate and incumbent, seed by seed (negative = better), weighs
them against the noise floor, and decides to discard, to measure another seed, or to confirm. A confirmation is measured
on seeds that had no part in the choice, since the best of many noisy numbers is too good to be true. The rule in use is
compared with others in dev/benchmarks/judge.md. Group sequential tests: Jennison & Turnbull 2000.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from math import inf, sqrt
from statistics import fmean

from common.errors import CaddieError
from common.text import one_line
from experiments.judge import student_t
from experiments.judge.noise import POWER, Noise


class Step(StrEnum):
    """The next measurement that a rule asks for, or its final decision."""

    SEARCH = "measure another of the generation's seeds"
    FRESH = "measure a fresh seed, both sides"
    KEPT = "kept"
    DISCARDED = "discarded"
    REVERTED = "reverted"


FINAL_STEPS = (Step.KEPT, Step.DISCARDED, Step.REVERTED)


@dataclass(frozen=True)
class Rule:
    """The thresholds of the acceptance rule; p-values are one-sided, of a mean at least this good without any effect.

    Args:
        seeds: Seeds of the first generation. A candidate gets one, and the others only in the gray zone.
        least: Seeds before the first decision.
        drop_p: From this p-value on, the candidate is discarded. Between `keep_p` and `drop_p` is the gray zone.
        keep_p: Below this p-value, the candidate is kept provisionally.
        fresh: Seeds of the re-measurement, which become the next generation; with 0, the first numbers are believed.
        confirm_p: Below this p-value on fresh seeds the candidate is kept, else reverted.
        lines_per_effect: Net added lines of code that must earn one detectable effect; with inf, lines are free.
        lines_per_margin: Net removed lines that may cost up to one detectable effect; fewer lines in proportion.

    Raises:
        CaddieError: A threshold is out of its range.

    Example:
        >>> rule, noise = Rule(), Noise.expected(0.001)
        >>> rule.step(Evidence(search=[-0.01]), noise, handicap=0.0, seeds_left=True)
        <Step.FRESH: 'measure a fresh seed, both sides'>
        >>> rule.step(Evidence(search=[0.01]), noise, handicap=0.0, seeds_left=True)
        <Step.DISCARDED: 'discarded'>
    """

    seeds: int = 3
    least: int = 1
    drop_p: float = 0.5
    keep_p: float = 0.1
    fresh: int = 2
    confirm_p: float = 0.2
    lines_per_effect: float = 200.0
    lines_per_margin: float = 20.0

    def __post_init__(self) -> None:
        counts = min(self.seeds, self.least) >= 1 and self.fresh >= 0
        lines = min(self.lines_per_effect, self.lines_per_margin) > 0
        if not (counts and lines and all(0 < chance < 1 for chance in (self.drop_p, self.keep_p, self.confirm_p))):
            raise CaddieError(f"got {self}, expected seeds, least from 1, fresh from 0, p in 0 to 1, lines above 0")

    def detectable(self, noise: Noise, seeds: int | None = None) -> float:
        """Return the true gain in bpb that passes `keep_p` on so many seeds (default: `self.seeds`) in POWER of cases.

        Of trials with such a gain, seven in ten are kept in the end (dev/benchmarks/judge.md).
        """
        reach = student_t.quantile(1 - self.keep_p, noise.degrees) + student_t.quantile(POWER, noise.degrees)
        return reach * noise.difference_sd / sqrt(seeds or self.seeds)

    def handicap(self, net_lines: int, noise: Noise, spent: float = 0.0) -> float:
        """Return the bpb that a change must make up for: added lines cost, a net removal need only be non-inferior.

        Args:
            net_lines: Lines of code added minus lines removed.
            noise: The noise floor.
            spent: The bpb that earlier removals may have cost (`loss_bound`). It reduces the allowance of the next
                one, so that a run loses about one detectable effect in all.
        """
        if self.lines_per_effect == inf:
            return 0.0
        if net_lines >= 0:
            return self.detectable(noise) * net_lines / self.lines_per_effect
        return -max(self.detectable(noise) * min(-net_lines / self.lines_per_margin, 1.0) - spent, 0.0)

    def passes(
        self, differences: Sequence[float], chance: float, noise: Noise, handicap: float, simplifies: bool
    ) -> bool:
        """Return True if a p-value is below `chance`; all-zero differences are no luck and need no allowance."""
        if not any(differences):
            return chance > 0.5 or (simplifies and self.lines_per_effect < inf)
        return noise.p_value(fmean(differences) + handicap, len(differences)) < chance

    def step(
        self, evidence: "Evidence", noise: Noise, handicap: float, seeds_left: bool, simplifies: bool = False
    ) -> Step:
        """Return the next measurement to take, or the decision.

        Args:
            evidence: The differences so far.
            noise: The noise floor.
            handicap: The bpb added to each mean (see `handicap`).
            seeds_left: The generation has a seed that the candidate was not measured on yet.
            simplifies: The change removes lines of code and no knob.
        """
        search, fresh = evidence.search, evidence.fresh

        def better(differences: Sequence[float], chance: float) -> bool:
            return self.passes(differences, chance, noise, handicap, simplifies)

        if len(search) < self.least and seeds_left:
            return Step.SEARCH
        if not better(search, self.keep_p):
            return Step.SEARCH if seeds_left and better(search, self.drop_p) else Step.DISCARDED
        if len(fresh) < self.fresh:
            return Step.FRESH
        return Step.KEPT if not fresh or better(fresh, self.confirm_p) else Step.REVERTED


@dataclass(frozen=True)
class Evidence:
    """Candidate minus incumbent in bpb by seed: on the generation's seeds (`search`) and on fresh ones."""

    search: Sequence[float] = ()
    fresh: Sequence[float] = ()

    @property
    def reported(self) -> Sequence[float]:
        """The differences that had no part in the choice, if there are any."""
        return self.fresh or self.search


RULES = {
    "caddie": Rule(),
    "greedy": Rule(seeds=1, keep_p=0.5, fresh=0, lines_per_effect=inf),  # accepts any lower number
}


def parse_rule(text: str, base: Rule = RULES["caddie"]) -> Rule:
    """Parse the name of a rule, such as `greedy`, or changed thresholds of `base`, such as `keep_p=0.05,fresh=3`.

    Raises:
        CaddieError: `text` is neither, or a threshold is out of its range.
    """
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

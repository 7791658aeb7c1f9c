"""Judge a finished run again under another rule, from the measurements that were taken.

Every trial is judged against the incumbent that it was measured against. Where the other rule asks for a seed that was
never run, that is the result: nothing is guessed, and nothing is run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from experiments.analysis.pairing import (
    differences,
    is_simplification,
    noise_by_trial,
    reference_seeds,
    simplification_cost,
)
from experiments.judge.rule import FINAL_STEPS, Evidence, Rule, Step
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.tiers import Tier


@dataclass(frozen=True)
class Rejudged:
    """A trial and the step that the other rule stops at: SEARCH or FRESH if it asks for a seed that was never run."""

    row: Row
    step: Step
    evidence: Evidence

    @property
    def verdict(self) -> str:
        """The final step in words, or what the rule would have to measure first."""
        return str(self.step) if self.step in FINAL_STEPS else f"cannot say: {self.step}"


def rejudge(ledger: Ledger, tier: Tier, rule: Rule) -> Iterator[Rejudged]:
    """Yield every trial that was measured at `tier`, in order, judged with the noise floor of its time."""
    for row, noise in noise_by_trial(ledger, tier):
        available = Evidence(*(differences(ledger, row, tier.name, fresh) for fresh in (False, True)))
        incumbent = ledger.with_commit(row.parent)
        if not row.state.judged or row.val_bpb is None or not available.search or incumbent is None:
            continue
        seeds = min(rule.seeds, len(reference_seeds(ledger, incumbent, tier, before=row.number)))
        spent = simplification_cost(ledger, tier, noise, before=row.number)
        handicap, simplifies = rule.handicap(row.net_code_lines or 0, noise, spent), is_simplification(row, incumbent)
        seen = Evidence()
        while (step := rule.step(seen, noise, handicap, len(seen.search) < seeds, simplifies)) not in FINAL_STEPS:
            extended = Evidence(
                available.search[: len(seen.search) + (step is Step.SEARCH)],
                available.fresh[: len(seen.fresh) + (step is Step.FRESH)],
            )
            if extended == seen:
                break
            seen = extended
        yield Rejudged(row, step, seen)

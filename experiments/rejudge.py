"""A finished night under another rule: what would it have kept, from the measurements that were taken?

Every trial is judged against the incumbent it was measured against. Where the other rule asks for a seed that nobody
ran, the answer is that: nothing is guessed, and nothing is run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from experiments.judge import ENDS, Evidence, Rule, Step
from experiments.ledger import Ledger, Row
from experiments.replicates import differences, generation, lost_to_simplicity, noise_by_trial, tidier
from experiments.tiers import Tier


@dataclass(frozen=True)
class Rejudged:
    """One trial: how it ended, and the step that the other rule stops at; SEARCH and FRESH were never run."""

    row: Row
    step: Step
    evidence: Evidence

    @property
    def told(self) -> str:
        return str(self.step) if self.step in ENDS else f"cannot say: {self.step}"


def rejudge(ledger: Ledger, tier: Tier, rule: Rule) -> Iterator[Rejudged]:
    """Every trial that was measured at `tier`, in order, with the noise floor of its time."""
    for row, noise in noise_by_trial(ledger, tier):
        taken = Evidence(*(differences(ledger, row, tier.name, fresh) for fresh in (False, True)))
        incumbent = ledger.with_commit(row.parent)
        if not row.state.judged or row.val_bpb is None or not taken.search or incumbent is None:
            continue
        most = min(rule.seeds, len(generation(ledger, incumbent, tier, before=row.number)))
        spent = lost_to_simplicity(ledger, tier, noise, before=row.number)
        handicap, tidy = rule.handicap(row.net_code_lines or 0, noise, spent), tidier(row, incumbent)
        seen = Evidence()
        while (step := rule.step(seen, noise, handicap, len(seen.search) < most, tidy)) not in ENDS:
            more = Evidence(
                taken.search[: len(seen.search) + (step is Step.SEARCH)],
                taken.fresh[: len(seen.fresh) + (step is Step.FRESH)],
            )
            if more == seen:
                break
            seen = more
        yield Rejudged(row, step, seen)

"""The incumbent measured again beside what challenges it, and its end where it falls behind its own numbers.

Whoever holds the place would gain by doing badly there: what is held against it then looks better than it is. So its
value on a fresh seed must be one that the numbers it was kept by can explain. The first seed that is so counts; one
that it fails on or falls behind on is passed over, and after FRESH_TRIES of those it ends as dishonest.
"""

from math import sqrt
from statistics import fmean

from data.errors import IncumbentFailed, MachineError, Refused
from data.state import State
from experiments.bench import Bench
from experiments.job import UNLIMITED, Measured
from experiments.judge import Noise
from experiments.ledger import Row
from experiments.measurement import Entry, measure, program_of
from experiments.replicates import new_seeds, noise_by_trial
from experiments.settle import undisturbed
from experiments.tiers import Tier
from preflight.text import one_line

FRESH_TRIES = 3
BEHIND_P = 0.01  # one-sided, of each fresh value: an honest incumbent is behind on three seeds of three almost never
BEHIND = "behind"  # where a value is filed that decides nothing


def refresh(bench: Bench, incumbent: Row, tier: Tier, count: int) -> None:
    """Fresh seeds for a kept incumbent at a tier that confirms nothing: its first number there has won a contest."""
    if incumbent.state is State.KEPT:
        taken = bench.ledger.taken(incumbent.number)
        for _ in range(count - sum(one.tier == tier.name and one.fresh_for == incumbent.number for one in taken)):
            remeasured(bench, incumbent, tier, incumbent.number)


def remeasured(bench: Bench, incumbent: Row, tier: Tier, asked_by: int) -> Measured:
    """The incumbent on a fresh seed; raises IncumbentFailed where a kept one does not hold, MachineError for the rest.

    The baseline is the person's own and owes its numbers to no contest: it is never behind.
    """
    program = program_of(bench, incumbent)
    entry = Entry(incumbent.number, f"the incumbent, {one_line(incumbent.title)}", program, UNLIMITED)
    numbers, noise = kept_by(bench, incumbent, tier)
    odd: list[str] = []
    for seed in new_seeds(FRESH_TRIES):

        def filed_as(measured: Measured) -> str:
            return BEHIND if falls_behind(measured.val_bpb, numbers, noise) else tier.name

        try:
            keeps = tier.rule.fresh > 0  # else this tier keeps nothing, and its numbers need not be proved whole
            measured = measure(bench, entry, tier, seed, fresh_for=asked_by, filed_as=filed_as, whole=keeps)
        except Refused as refusal:
            odd.append(f"{refusal.verdict}: {refusal}")
            continue
        if filed_as(measured) == tier.name:
            return measured
        odd.append(f"{measured.val_bpb - fmean(numbers):+.4f} bpb")
    told = one_line(f"on {FRESH_TRIES} fresh seeds of {FRESH_TRIES}: {'; '.join(odd)}", 400)
    if incumbent.state is State.KEPT:
        raise IncumbentFailed(f"failed or fell behind the numbers it was kept by {told}")
    raise MachineError(f"the incumbent, trial {incumbent.number}, failed {told}")


def kept_by(bench: Bench, incumbent: Row, tier: Tier) -> tuple[list[float], Noise]:
    """A kept trial's values on its own fresh seeds, and the noise floor that it had no part in; none for a baseline.

    Later replicates do not move them: else an incumbent could sink in steps that are each within the noise.
    """
    taken = [one for one in bench.ledger.taken(incumbent.number) if one.tier == tier.name]
    numbers = [one.measured.val_bpb for one in taken if one.fresh_for == incumbent.number] if tier.rule.fresh else []
    noise = next(noise for row, noise in noise_by_trial(bench.ledger, tier) if row.number == incumbent.number)
    return numbers, noise


def falls_behind(value: float, numbers: list[float], noise: Noise) -> bool:
    """Whether a fresh value is worse than the mean of `numbers` by more than seeds explain.

    Equals differ by noise.difference_sd; a value and a mean of n such values by sqrt((1 + 1/n) / 2) of that.
    """
    if not numbers:
        return False
    spread = sqrt((1.0 + 1.0 / len(numbers)) / 2.0)
    return noise.p_value((fmean(numbers) - value) / spread, 1) < BEHIND_P


def disown(bench: Bench, incumbent: Row, found_by: int, why: str) -> Row:
    """End a kept trial as dishonest, with a note on its commit and on all that it was held against; the next holds."""
    told = one_line(f"found by trial {found_by:04d}: {why}", 600)
    with undisturbed():
        # The ledger first: a crash before the branch has moved is mended by `recover`, which trusts the ledger.
        bench.ledger.disown(incumbent.number, found_by, told)
        holder = bench.ledger.incumbent()
        assert holder is not None
        bench.workspace.set_best(str(holder.commit_id), incumbent.commit_id)
        bench.workspace.note(str(incumbent.commit_id), f"ended as dishonest: {told}")
        for row in bench.ledger.rows():
            if row.parent == incumbent.commit_id and row.state is State.UNJUDGED and row.commit_id:
                bench.workspace.note(row.commit_id, f"judged against trial {incumbent.number:04d}, which is dishonest")
    return holder

"""Measure the incumbent again on fresh seeds, and disown it if it falls behind the numbers it was kept by.

An incumbent would gain by doing badly on fresh seeds: whatever is compared with it then looks better than it is. So its
value on a fresh seed must be one that the numbers it was kept by can explain. The first seed where that holds counts; a
seed on which it fails or falls behind is passed over, and after FRESH_TRIES of those it ends as dishonest.
"""

from math import sqrt
from statistics import fmean

from common.errors import IncumbentFailed, MachineError, Refused
from common.state import State
from common.text import one_line
from experiments.analysis.pairing import new_seeds, noise_by_trial
from experiments.judge.noise import Noise
from experiments.ledger.measurement import Measurement
from experiments.ledger.rows import Row
from experiments.run.run import Run
from experiments.runner.job import UNLIMITED
from experiments.tiers import Tier
from experiments.trial.measure import Entry, measure, program_path
from experiments.trial.settle import block_signals

FRESH_TRIES = 3
BEHIND_P = 0.01  # one-sided, for each fresh value: equal trees are behind on three seeds of three almost never
BEHIND = "behind"  # the ledger's tier for a value that decides nothing


def refresh(run: Run, incumbent: Row, tier: Tier, count: int) -> None:
    """Measure a kept incumbent on fresh seeds at a tier without confirmation.

    Its first number at such a tier won a contest, and is too good to be true.
    """
    if incumbent.state is not State.BASELINE:
        rows = run.ledger.measurement_rows(incumbent.number)
        have = sum(row.tier == tier.name and row.fresh_for == incumbent.number for row in rows)
        for _ in range(count - have):
            remeasure(run, incumbent, tier, incumbent.number)


def remeasure(
    run: Run,
    incumbent: Row,
    tier: Tier,
    requested_by: int,
    stage: str = "",
    count: str = "",
    data_seed: int | None = None,
) -> Measurement:
    """Measure the incumbent on a fresh seed, on behalf of trial `requested_by`.

    The baseline is the user's own tree and won no contest: it never counts as behind.

    Raises:
        IncumbentFailed: A kept incumbent failed or fell behind on all of FRESH_TRIES seeds.
        MachineError: The baseline failed on all of them.
    """
    program = program_path(run, incumbent)
    entry = Entry(incumbent.number, f"the incumbent, {one_line(incumbent.title)}", program, UNLIMITED)
    values, noise = kept_values(run, incumbent, tier)
    failures: list[str] = []
    for seed in new_seeds(FRESH_TRIES):

        def stored_as(measured: Measurement) -> str:
            return BEHIND if falls_behind(measured.val_bpb, values, noise) else tier.name

        try:
            confirms = tier.rule.fresh > 0  # else this tier keeps nothing, and part of the losses may go unaudited
            measured = measure(run, entry, tier, seed, requested_by, stage, stored_as, confirms, count, data_seed)
        except Refused as refusal:
            failures.append(f"{refusal.verdict}: {refusal}")
            continue
        if stored_as(measured) == tier.name:
            return measured
        failures.append(f"{measured.val_bpb - fmean(values):+.4f} bpb")
    details = one_line(f"on {FRESH_TRIES} fresh seeds of {FRESH_TRIES}: {'; '.join(failures)}", 400)
    if incumbent.state is not State.BASELINE:
        raise IncumbentFailed(f"failed or fell behind the numbers it was kept by {details}")
    raise MachineError(f"the incumbent, trial {incumbent.number}, failed {details}")


def kept_values(run: Run, incumbent: Row, tier: Tier) -> tuple[list[float], Noise]:
    """Return a kept trial's values on its own fresh seeds (none for a baseline), and the noise floor before it.

    Later replicates do not move these values: else an incumbent could sink in steps that are each within the noise.
    """
    rows = [row for row in run.ledger.measurement_rows(incumbent.number) if row.tier == tier.name]
    won = tier.rule.fresh and incumbent.state is State.KEPT  # a person's keep won no contest either
    values = [row.measured.val_bpb for row in rows if row.fresh_for == incumbent.number] if won else []
    noise = next(noise for row, noise in noise_by_trial(run.ledger, tier) if row.number == incumbent.number)
    return values, noise


def falls_behind(value: float, kept: list[float], noise: Noise) -> bool:
    """Return True if a fresh value is worse than the mean of the `kept` values by more than seeds explain.

    Equal trees differ by noise.difference_sd; a value and a mean of n such values by sqrt((1 + 1/n) / 2) of that.
    """
    if not kept:
        return False
    spread = sqrt((1.0 + 1.0 / len(kept)) / 2.0)
    return noise.p_value((fmean(kept) - value) / spread, 1) < BEHIND_P


def disown(run: Run, incumbent: Row, found_by: int, why: str) -> Row:
    """End a kept trial as dishonest and return the incumbent before it, which takes its place again.

    The trial's commit and those of all trials that were judged against it get a git note.
    """
    reason = one_line(f"found by trial {found_by:04d}: {why}", 600)
    with block_signals():
        # The ledger first: after a crash before the branch has moved, `recover` trusts the ledger and moves it.
        run.ledger.disown(incumbent.number, found_by, reason)
        restored = run.ledger.incumbent()
        assert restored is not None
        run.workspace.set_best(str(restored.commit_id), incumbent.commit_id)
        run.workspace.add_note(str(incumbent.commit_id), f"ended as dishonest: {reason}")
        for row in run.ledger.rows():
            if row.parent == incumbent.commit_id and row.state is State.UNJUDGED and row.commit_id:
                run.workspace.add_note(
                    row.commit_id, f"judged against trial {incumbent.number:04d}, which is dishonest"
                )
    return restored

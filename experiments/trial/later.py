"""Later verdicts on settled trials: the judge's on more fresh seeds, and a person's decision to keep or revert one."""

from dataclasses import dataclass
from statistics import fmean

from common.errors import CaddieError, IncumbentFailed, Refused
from common.state import State
from common.text import one_line
from experiments.analysis.pairing import (
    WEIGHTS,
    differences,
    is_simplification,
    new_seeds,
    noise_by_trial,
    noise_floor,
    pairs,
    simplification_cost,
)
from experiments.ledger.rows import Row
from experiments.run.run import Run
from experiments.runner.seeds import require_seeds_matter
from experiments.trial.baseline import cpu_budget, measure_baseline
from experiments.trial.compare import require_repeatable
from experiments.trial.incumbent import disown, remeasure
from experiments.trial.measure import Entry, loss_files, measure, program_path
from experiments.trial.settle import block_signals

STAGE = "seeds"  # of a trial, after it has settled


@dataclass(frozen=True)
class FreshSeeds:
    """All fresh seeds of a trial: the differences to its incumbent, and the mean of its own values."""

    differences: list[float]
    val_bpb: float


def more_seeds(run: Run, number: int, count: int) -> str:
    """Measure a trial and its incumbent on more fresh seeds, and judge it by all fresh seeds that it has.

    A trial that was kept must still pass the rule's test of fresh seeds. One that was not must be as unlikely without
    an effect as a trial that passes both tests, and twice as unlikely for each batch of fresh seeds that judged it
    before: each look is another chance, and the halves add up to at most twice the first (alpha spending).

    Returns:
        The verdict in one line.

    Raises:
        CaddieError: The trial has no value, or its incumbent ended as dishonest.
    """
    row, parent = _measured(run, number)
    looks = _looks(run, row)
    try:
        fresh = _measure_fresh(run, row, parent, count)
    except Refused as refusal:
        return _refused(run, row, parent, refusal)
    rule, noise = run.tier.rule, noise_floor(run.ledger, run.tier)
    earlier = next(noise for each, noise in noise_by_trial(run.ledger, run.tier) if each.number == number)
    spent = simplification_cost(run.ledger, run.tier, earlier, before=number)
    handicap, mean = rule.handicap(row.net_code_lines or 0, noise, spent), fmean(fresh.differences)
    was_kept = row.state is State.KEPT
    threshold = rule.confirm_p if was_kept else rule.keep_p * rule.confirm_p / 2**looks
    passed = rule.passes(fresh.differences, threshold, noise, handicap, is_simplification(row, parent))
    count = len(fresh.differences)
    p_value = noise.p_value(mean + handicap, count)
    reason = (
        f"{count} fresh seed{'s' * (count != 1)} {mean:+.4f} bpb (p {p_value:.3f}, needs {threshold:.3g}; "
        f"noise {noise.difference_sd:.4f} per pair)"
    )
    state, incumbent = row.state, None
    if passed and not was_kept and not row.state.decided_by_person:
        if run.workspace.best() == row.parent:
            state, incumbent = State.KEPT, row
        else:
            reason += f"; another incumbent was kept since: `{try_command(run, row)}` tries it on top"
    elif was_kept and not passed:
        if run.workspace.best() == row.commit_id:
            state, incumbent = State.REVERTED, parent
        else:
            reason += "; later keeps stand on it, so it stays"
    _record(run, row, state, reason, fresh, incumbent)
    return f"trial {number:04d} is {state}: {reason}"


def _looks(run: Run, row: Row) -> int:
    """Return how often a trial was judged by fresh seeds already: each look had a batch of them, on data of its own."""
    own = [each for each in run.ledger.measurement_rows(row.number) if each.tier == run.tier.name]
    return len({each.measured.data_seed for each in own if each.fresh_for == row.number})


def _refused(run: Run, row: Row, parent: Row, refusal: Refused) -> str:
    """Record that a trial failed on a fresh seed: a look like any other, and the end of an incumbent."""
    reason, incumbent, state = f"failed on a fresh seed, {refusal.verdict}: {refusal}", None, row.state
    if row.state is State.KEPT and run.workspace.best() == row.commit_id:
        state, incumbent = State.REVERTED, parent
    _record(run, row, state, one_line(reason, 600), None, incumbent)
    return f"trial {row.number:04d} is {state}: {one_line(reason, 600)}"


def try_command(run: Run, row: Row) -> str:
    """Return the command that tries a trial's change on top of the present incumbent."""
    return f".venv/bin/python -m experiments try {str(row.commit_id)[:12]} --run {run.name}"


def keep(run: Run, number: int, reason: str) -> str:
    """Make a trial the incumbent by a person's decision, after it has as many fresh seeds as a keep of the judge's.

    Returns:
        What was done, in one line.

    Raises:
        CaddieError: The trial has no value, is kept already, or was tried against another incumbent.
        Refused: The trial failed on a fresh seed.
    """
    row, parent = _measured(run, number)
    if row.state.is_kept:
        raise CaddieError(f"trial {number:04d} is {row.state} already")
    if run.workspace.best() != row.parent:
        raise CaddieError(
            f"trial {number:04d} was tried against trial {parent.number:04d}, which is not the incumbent any more; "
            f"`{try_command(run, row)}` tries its change on top of the one that is"
        )
    have = len(differences(run.ledger, row, run.tier.name, fresh=True))
    fresh = _measure_fresh(run, row, parent, max(run.tier.rule.fresh - have, 0))
    text = one_line(f"kept by a person{f': {reason}' if reason else ''}", 600)
    _record(run, row, State.KEPT_BY_PERSON, text, fresh, row)
    return f"trial {number:04d} is the incumbent by your decision: {fmean(fresh.differences):+.4f} bpb on fresh seeds"


def revert(run: Run, number: int, reason: str) -> str:
    """Take the incumbent back by a person's decision; the incumbent before it takes its place.

    Raises:
        CaddieError: The trial is not the incumbent.
    """
    row = run.ledger.row(number)
    if row.state is State.BASELINE or not row.state.is_kept:
        raise CaddieError(
            f"trial {number:04d} is {row.state}, expected a kept one; `log --kept --run {run.name}` lists them"
        )
    if run.workspace.best() != row.commit_id:
        later = [each.number for each in run.ledger.rows() if each.state.is_kept and each.number > number]
        listed = ", ".join(f"{each:04d}" for each in reversed(later))
        raise CaddieError(f"later keeps stand on trial {number:04d}; revert them first: {listed}")
    parent = run.ledger.with_commit(row.parent)
    assert parent is not None
    text = one_line(f"reverted by a person{f': {reason}' if reason else ''}", 600)
    _record(run, row, State.REVERTED_BY_PERSON, text, None, parent)
    return f"trial {number:04d} is reverted by your decision; trial {parent.number:04d} is the incumbent again"


def _measured(run: Run, number: int) -> tuple[Row, Row]:
    """Return a trial with a value and the incumbent that it was compared with; raises CaddieError."""
    row = run.ledger.row(number)
    stored = run.ledger.measurement_rows(number)
    compared = any(each.tier in (run.tier.name, WEIGHTS) and each.fresh_for is None for each in stored)
    if not row.has_value or row.state is State.BASELINE or not compared:
        raise CaddieError(f"trial {number:04d} is {row.state}, expected one that was compared with its incumbent")
    parent = run.ledger.with_commit(row.parent)
    if parent is None or parent.state is State.DISHONEST:
        raise CaddieError(f"trial {number:04d} was compared with an incumbent that ended as dishonest; `try` it again")
    return row, parent


def _measure_fresh(run: Run, row: Row, parent: Row, count: int) -> FreshSeeds:
    """Measure a trial and its incumbent on `count` more fresh seeds; returns all that the trial has."""
    entry = Entry(row.number, row.title, program_path(run, row), cpu_budget(run, measure_baseline(run)))
    if count and not differences(run.ledger, row, run.tier.name, fresh=True):
        rows = [each for each in run.ledger.measurement_rows(row.number) if each.tier == run.tier.name]
        first = next((each.measured for each in rows if each.fresh_for is None), None)
        if first:  # a trial that was measured on saved weights alone has nothing to repeat
            require_repeatable(run, entry, first, run.tier, noise_floor(run.ledger, run.tier))
    measured = [each.measured for each in run.ledger.measurement_rows(row.number) if each.tier == run.tier.name]
    data_seed = new_seeds(1)[0]  # other data than any earlier batch had
    for each in range(1, count + 1):
        seed = f"{each} of {count}"
        try:
            reference = remeasure(run, parent, run.tier, row.number, stage=STAGE, count=seed, data_seed=data_seed)
        except IncumbentFailed as failure:
            if run.workspace.best() != parent.commit_id:
                raise CaddieError(f"trial {parent.number:04d}, its incumbent, {failure}") from failure
            restored = disown(run, parent, row.number, str(failure))
            message = f"trial {parent.number:04d}, its incumbent, {failure}; trial {restored.number:04d} is it again"
            raise CaddieError(message) from failure
        batch = {"fresh_for": row.number, "stage": STAGE, "count": seed, "data_seed": data_seed}
        own = measure(run, entry, run.tier, reference.seed, **batch)  # type: ignore[arg-type]
        losses, reference_losses = (loss_files(run, trial, run.tier) for trial in (row.number, parent.number))
        require_seeds_matter([*measured, own], losses, reference_losses)
        measured.append(own)
    fresh = pairs(run.ledger, row, run.tier.name, fresh=True)
    return FreshSeeds([own - other for _, own, other in fresh], fmean(own for _, own, _ in fresh))


def _record(run: Run, row: Row, state: State, reason: str, fresh: FreshSeeds | None, incumbent: Row | None) -> None:
    """Record a verdict, note it at the trial's commit, and move the incumbent's branch."""
    before = run.workspace.best()
    with block_signals():
        # The ledger first: after a crash before the branch has moved, `recover` trusts the ledger and moves it.
        values = (fresh.val_bpb, fmean(fresh.differences)) if fresh else (None, None)
        run.ledger.add_verdict(row.number, state, reason, *values)
        if incumbent:
            run.workspace.set_best(str(incumbent.commit_id), before)
        if state.is_kept:
            run.workspace.show_branch(row.number)
        run.workspace.add_note(str(row.commit_id), f"{state}: {reason}")

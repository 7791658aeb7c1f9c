"""End a trial: write one commit, settle its row, and move the incumbent's branch if it was kept."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import fmean

from common.errors import Refused
from common.state import State
from common.text import one_line, quoted, without_long_numbers
from experiments.ledger import usage
from experiments.ledger.measurement import Measurement
from experiments.ledger.rows import Row
from experiments.run.run import Run


def settle(
    run: Run,
    number: int,
    tree: str | None,
    state: State,
    measured: list[Measurement] | None = None,
    **columns: object,
) -> Row:
    """Commit a trial, settle its row and return it; a kept trial becomes the incumbent.

    Args:
        run: The run that the trial belongs to.
        number: The trial.
        tree: The git tree to commit; None for the parent's.
        state: The final state.
        measured: The measurements that the trial's value rests on.
        **columns: Further columns of the row, such as `delta_bpb`, `detail` and `spent`.
    """
    with block_signals():
        return _settle(run, number, tree, state, measured or [], **columns)


def settle_refused(run: Run, number: int, tree: str | None, refusal: Refused) -> Row:
    """Settle a refused candidate, with the value that it had so far if a limit ended it."""
    values = {"val_bpb": refusal.val_bpb, "delta_bpb": refusal.delta_bpb}
    return settle(run, number, tree, refusal.verdict, None, detail=str(refusal), spent=refusal.spent, **values)


def _settle(
    run: Run, number: int, tree: str | None, state: State, measured: list[Measurement], **columns: object
) -> Row:
    started = time.monotonic()
    row = run.ledger.row(number)
    values: dict[str, object] = {**columns, "spent": None, "detail": one_line(str(columns.get("detail", "")), 1000)}
    stored = [taken.measured for taken in run.ledger.measurement_rows(number) if taken.tier == row.tier]
    all_spent = [*(measurement.spent for measurement in stored), dict(columns.get("spent") or {})]  # type: ignore[call-overload]
    if spent := usage.closest_to_limit(all_spent):
        values["spent"] = json.dumps(spent)
    if state.hit_limit:  # show what was measured before the limit
        measured = stored
    if measured:
        values.setdefault("val_bpb", fmean(measurement.val_bpb for measurement in measured))
        values["artifact_bytes"] = max(measurement.artifact_bytes for measurement in measured)
        values["train_seconds"] = fmean(measurement.train_wall_seconds for measurement in measured)
        values["score_seconds"] = fmean(measurement.score_wall_seconds for measurement in measured)
        values["honesty_bpb"] = max(measurement.honesty_bpb for measurement in measured)
        values["rare_bpb"] = max(measurement.rare_bpb for measurement in measured)
    if state.hit_limit and "artifact_bytes" in spent:
        values["artifact_bytes"] = int(spent["artifact_bytes"][0])
    if state is State.BASELINE:
        values["commit_id"] = row.parent
    else:
        tree = tree or run.workspace.tree_of(row.parent)
        seeds = [measurement.seed for measurement in measured]
        hidden = {"val_bpb": None, "delta_bpb": None} if state.hit_limit else {}  # the commit shows no invalid value
        message = commit_message(row, state, tree, {**values, **hidden}, seeds)
        values["commit_id"] = run.workspace.commit(number, tree, row.parent, message)
    # The branch moves before the row ends: after a crash between the two, `recover` trusts the row and moves it back.
    if state.is_kept:
        run.workspace.set_best(str(values["commit_id"]), row.parent)
        if state is not State.BASELINE:
            run.workspace.show_branch(number)
    run.ledger.settle(number, state, **values)
    run.ledger.add_stage(number, "settle", time.monotonic() - started)
    return run.ledger.row(number)


def commit_message(row: Row, state: State, tree: str, values: dict[str, object], seeds: list[int]) -> str:
    """Return the commit message: subject, quoted hypothesis, and trailers that nothing in the proposal can forge."""

    def formatted(name: str, spec: str) -> str:
        return format(values[name], spec) if values.get(name) is not None else "-"

    trailers = {
        "Trial": f"{row.number:04d}",
        "Parent": row.parent,
        "Val-BPB": formatted("val_bpb", ".6f"),
        "Delta": formatted("delta_bpb", "+.6f"),
        "Artifact-Bytes": formatted("artifact_bytes", "d"),
        "Train-Seconds": formatted("train_seconds", ".1f"),
        "Score-Seconds": formatted("score_seconds", ".1f"),
        "Seeds": str(len(seeds)),
        "Verdict": state.value,
        "Tree": tree,
    }
    body = [f"> {line}" for line in (row.kind, str(values["detail"]))]
    subject = f"trial {row.number:04d}: {one_line(row.title, 80)}"
    paragraphs = [subject, quoted(row.hypothesis), "\n".join(body)]
    return "\n\n".join([*paragraphs, "\n".join(f"{name}: {value}" for name, value in trailers.items())]) + "\n"


def mark_lost(run: Run, number: int, state: State, why: str) -> None:
    """Settle a row whose end says nothing about its idea, if it is not settled yet.

    Long numbers in `why` are hidden: a path may contain a seed.
    """
    with block_signals():
        row = run.ledger.row(number)
        if not row.state.finished:
            run.ledger.settle(number, state, detail=one_line(without_long_numbers(why), 1000))
            run.workspace.drop_commit(number, row.parent)


@contextmanager
def block_signals() -> Iterator[None]:
    """Delay Ctrl-C and kill until bookkeeping is done, also for git, which inherits the signal mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

"""How a trial ends: one commit, one settled row, and the incumbent's branch."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import fmean

from data.errors import Refused
from data.state import State
from experiments import budgets
from experiments.bench import Bench
from experiments.job import Measured
from experiments.ledger import Row
from preflight.text import one_line, quoted, without_long_numbers


def settle(
    bench: Bench, number: int, tree: str | None, state: State, measured: list[Measured] | None = None, **columns: object
) -> Row:
    """Write the one commit and end the row; the incumbent moves to what was kept."""
    with undisturbed():
        return _settle(bench, number, tree, state, measured or [], **columns)


def settle_refused(bench: Bench, number: int, tree: str | None, refusal: Refused) -> Row:
    """End the row of a refused candidate, with what it had if a limit ended it."""
    had = {"val_bpb": refusal.val_bpb, "delta_bpb": refusal.delta_bpb}
    return settle(bench, number, tree, refusal.verdict, None, detail=str(refusal), spent=refusal.spent, **had)


def _settle(
    bench: Bench, number: int, tree: str | None, state: State, measured: list[Measured], **columns: object
) -> Row:
    started = time.monotonic()
    row = bench.ledger.row(number)
    values: dict[str, object] = {**columns, "spent": None, "detail": one_line(str(columns.get("detail", "")), 1000)}
    taken = [one.measured.spent for one in bench.ledger.taken(number) if one.tier == row.tier]
    if spent := budgets.closest([*taken, dict(columns.get("spent") or {})]):  # type: ignore[call-overload]
        values["spent"] = json.dumps(spent)
    if state.limit:  # what it had by then
        measured = [one.measured for one in bench.ledger.taken(number) if one.tier == row.tier]
    if measured:
        values.setdefault("val_bpb", fmean(one.val_bpb for one in measured))
        values["artifact_bytes"] = max(one.artifact_bytes for one in measured)
        values["train_seconds"] = fmean(one.train_wall_seconds for one in measured)
        values["score_seconds"] = fmean(one.score_wall_seconds for one in measured)
        values["honesty_bpb"] = max(one.honesty_bpb for one in measured)
        values["rare_bpb"] = max(one.rare_bpb for one in measured)
    if state.limit and "artifact_bytes" in spent:
        values["artifact_bytes"] = int(spent["artifact_bytes"][0])
    if state is State.BASELINE:
        values["commit_id"] = row.parent
    else:
        tree = tree or bench.workspace.tree_of(row.parent)
        seeds = [one.seed for one in measured]
        ended = {"val_bpb": None, "delta_bpb": None} if state.limit else {}  # no value that counts
        message = commit_message(row, state, tree, {**values, **ended}, seeds)
        values["commit_id"] = bench.workspace.commit(number, tree, row.parent, message)
    # The branch moves before the row ends: a crash between the two is mended by `recover`, which trusts the row.
    if state in (State.KEPT, State.BASELINE):
        bench.workspace.set_best(str(values["commit_id"]), row.parent)
    bench.ledger.settle(number, state, **values)
    bench.ledger.add_stage(number, "settle", time.monotonic() - started)
    return bench.ledger.row(number)


def commit_message(row: Row, state: State, tree: str, values: dict[str, object], seeds: list[int]) -> str:
    """Subject, quoted hypothesis, and trailers that nothing in the proposal can forge."""

    def shown(name: str, form: str) -> str:
        return format(values[name], form) if values.get(name) is not None else "-"

    trailers = {
        "Trial": f"{row.number:04d}",
        "Parent": row.parent,
        "Val-BPB": shown("val_bpb", ".6f"),
        "Delta": shown("delta_bpb", "+.6f"),
        "Artifact-Bytes": shown("artifact_bytes", "d"),
        "Train-Seconds": shown("train_seconds", ".1f"),
        "Score-Seconds": shown("score_seconds", ".1f"),
        "Seeds": str(len(seeds)),
        "Verdict": state.value,
        "Tree": tree,
    }
    body = [f"> {line}" for line in (row.kind, str(values["detail"]))]
    subject = f"trial {row.number:04d}: {one_line(row.title, 80)}"
    paragraphs = [subject, quoted(row.hypothesis), "\n".join(body)]
    return "\n\n".join([*paragraphs, "\n".join(f"{name}: {value}" for name, value in trailers.items())]) + "\n"


def settle_lost(bench: Bench, number: int, state: State, why: str) -> None:
    """End a row that says nothing about its idea, if it is not settled already; a path in `why` may name a seed."""
    with undisturbed():
        row = bench.ledger.row(number)
        if not row.state.finished:
            bench.ledger.settle(number, state, detail=one_line(without_long_numbers(why), 1000))
            bench.workspace.drop(number, row.parent)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Bookkeeping: Ctrl-C and kill wait until it is done, for git as well, which inherits the mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

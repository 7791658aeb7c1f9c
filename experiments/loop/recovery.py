"""Recovery after a crash or a Ctrl-C: unfinished trials are settled, and none of their processes keeps running."""

from common.state import State
from experiments.costs import llm_calls
from experiments.ledger.rows import Row
from experiments.run import consistency
from experiments.run.layout import PROPOSER_FOLDER, WORK
from experiments.run.run import Run
from experiments.trial.settle import mark_lost
from preflight.sandbox import cleanup


def recover(run: Run) -> list[Row]:
    """Settle what a crash left behind; returns the rows of the lost trials.

    Their processes are killed, unfinished trials end as `infra`, and the incumbent's branch is set to the ledger's.
    """
    consistency.require_known_best(run.workspace, run.ledger.rows())
    before = run.workspace.resolve(f"refs/heads/experiments/{run.name}/best")
    lost = run.ledger.unsettled()
    shared = [run.folder / name for name in (PROPOSER_FOLDER, WORK)]
    for folder in [*shared, *(run.trial_folder(row.number) for row in lost)]:
        cleanup.reap(folder)
    for row in lost:
        mark_lost(run, row.number, State.INFRA, "the controller ended before this trial did")
    llm_calls.mark_lost(run.ledger)
    incumbent = run.ledger.incumbent()
    if incumbent and incumbent.commit_id:
        run.workspace.set_best(incumbent.commit_id, before)
    return lost


def settle_stopped(run: Run) -> None:
    """Settle what a user's Ctrl-C left unfinished."""
    for row in run.ledger.unsettled():
        mark_lost(run, row.number, State.STOPPED, "stopped by the user")
    for row in run.ledger.rows():
        if row.state is State.STOPPED:
            cleanup.reap(run.trial_folder(row.number))
    for name in (PROPOSER_FOLDER, WORK):
        cleanup.reap(run.folder / name)
    llm_calls.mark_lost(run.ledger)

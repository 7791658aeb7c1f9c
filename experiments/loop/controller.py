"""The controller: open or resume a run, measure the baseline, then propose and try until asked to stop."""

import sqlite3
import time
from collections.abc import Callable

from common.errors import CaddieError, MachineError, NeedsPerson, NoProposal, SandboxError
from common.state import State
from common.text import one_line
from experiments.costs import llm_calls
from experiments.costs.budget import over_budget
from experiments.ledger.rows import Row
from experiments.loop.ideas import Idea, Ideas
from experiments.loop.proposer_process import ProposalPrefetcher
from experiments.loop.recovery import recover
from experiments.run import consistency, stop
from experiments.run.request import RunRequest
from experiments.run.run import Run
from experiments.run.session import Session
from experiments.runner.job import Budget
from experiments.trial.baseline import cpu_budget, measure_baseline
from experiments.trial.control import baseline_runs
from experiments.trial.trial import run_trial
from preflight.sandbox import cleanup

MAX_FAILURES_IN_A_ROW = 3
MAX_BAD_DIFFS_IN_A_ROW = 5


def reason_to_stop(run: Run, request: RunRequest, session: Session) -> str:
    """Return the reason why no other trial starts; empty if one may."""
    profile, settled = run.machine, session.settled(run.ledger)
    if settled >= request.trials and not run.ledger.next_request():
        session.finish(run.ledger)
        return f"{settled} trial{'s are' if settled != 1 else ' is'} settled"
    if session.hours > request.hours:
        session.finish(run.ledger)
        return f"{request.hours:g} hours are over"
    if stop.is_requested(stop_file := run.workspace.root / stop.NAME, run.name):
        return stop.acknowledge(stop_file, run.name)
    return over_budget(run.ledger, profile, request.proposer.budget_usd, profile.longest_trial_minutes)


def run(
    run: Run, request: RunRequest, report: Callable[[Row], None], say: Callable[[str], None] = lambda _: None
) -> str:
    """Run trials until the session has enough of them, its hours are over, or the proposer has nothing left.

    All starts of the controller with the same session name share one count of trials and hours.

    Args:
        run: The open run.
        request: The options of the session.
        report: Called with the row of each trial that settles.
        say: Called with one line for each event that the user should see.

    Returns:
        The reason why the session ended.

    Raises:
        NeedsPerson: Only the user can fix the problem.
        MachineError: Several failures in a row that no idea caused.
    """
    # The session comes first: whatever fails below counts as a start.
    session = Session.begin(run.ledger, request.session, resume=not {"trials", "hours"} & request.given)
    stop_file = run.workspace.root / stop.NAME
    if session.starts == 1 and stop.is_requested(stop_file, run.name):
        raise NeedsPerson(stop.stale_message(stop_file))
    if pause := session.pause_seconds:
        say(f"start {session.starts} since the last settled trial: waiting {pause} s")
        time.sleep(pause)
    run.workspace.remove_stale_locks()
    cleanup.reap(run.folder / "doctor")
    if unknown := consistency.commits_without_rows(run.workspace, run.ledger.rows()):
        numbers = ", ".join(f"{number:04d}" for number in unknown[:5]) + (" …" if unknown[5:] else "")
        say(f"the ledger is older than trials {numbers} in git: they stay, and later numbers follow")
    for row in recover(run):
        report(run.ledger.row(row.number))
    profile, budget_usd = run.machine, request.proposer.budget_usd
    has_baseline = any(row.state is State.BASELINE for row in run.ledger.rows())
    if not has_baseline and (reason := over_budget(run.ledger, profile, budget_usd, profile.baseline_minutes)):
        return reason
    baseline = measure_baseline(run, lambda: session.record_progress(run.ledger))
    report(baseline)
    ideas = Ideas(run, ProposalPrefetcher(run, request.proposer, say), say)
    try:
        return _run_trials(run, session, request, baseline, ideas, report)
    finally:
        ideas.stop()
        session.save(run.ledger)
        llm_calls.mark_lost(run.ledger)


def run_requests(run: Run, request: RunRequest, report: Callable[[Row], None], say: Callable[[str], None]) -> None:
    """Carry out what a person asked for, and nothing else; raises as `run` does, and NeedsPerson beyond the budget."""
    for row in recover(run):
        report(run.ledger.row(row.number))
    baseline = measure_baseline(run)
    limits, ideas = cpu_budget(run, baseline), Ideas(run, None, say)
    profile, budget_usd = run.machine, request.proposer.budget_usd
    while run.ledger.next_request():
        if reason := over_budget(run.ledger, profile, budget_usd, profile.longest_trial_minutes):
            raise NeedsPerson(reason)
        if idea := ideas.next():
            report(run_idea(run, idea, limits))


def run_idea(run: Run, idea: Idea, budget: Budget, on_start: Callable[[], None] = lambda: None) -> Row:
    """Try an idea, and tell the person who asked for it what came of it."""
    row = run_trial(run, idea.text, budget, on_start, by_person=idea.by_person)
    if idea.request:
        run.ledger.finish_request(idea.request.number, f"trial {row.number:04d}: {row.state}")
    return row


def _run_trials(
    run: Run,
    session: Session,
    request: RunRequest,
    baseline: Row,
    ideas: Ideas,
    report: Callable[[Row], None],
) -> str:
    """Run one trial after another until there is a reason to stop; returns the reason."""
    failures, bad_diffs, limits = 0, 0, cpu_budget(run, baseline)
    while not (reason := reason_to_stop(run, request, session)):
        try:
            began = time.monotonic()
            remaining = request.trials - session.settled(run.ledger)
            if (idea := ideas.next(requests_only=remaining <= 0)) is None:
                continue
            propose_seconds, is_last = time.monotonic() - began, remaining <= 1
            row = run_idea(run, idea, limits, (lambda: None) if is_last else ideas.prefetch)
        except NoProposal as error:
            session.finish(run.ledger)
            return str(error)
        except NeedsPerson:
            raise
        except (CaddieError, OSError, sqlite3.Error) as error:
            failures += 1
            ideas.say(one_line(f"failure {failures} of {MAX_FAILURES_IN_A_ROW}: {error}", 300))
            for lost in recover(run):
                report(run.ledger.row(lost.number))
            if failures == MAX_FAILURES_IN_A_ROW and isinstance(error, SandboxError) and baseline_runs(run, baseline):
                ideas.say("the baseline still runs: the ideas caused these failures, not the machine")
                failures = 0
            if failures == MAX_FAILURES_IN_A_ROW:
                message = f"{failures} failures in a row that no idea caused, the last: {error}"
                raise MachineError(message) from error
            continue
        run.ledger.add_stage(row.number, "propose", propose_seconds)
        session.record_progress(run.ledger)
        failures, bad_diffs = 0, bad_diffs + 1 if row.state is State.BAD_DIFF else 0
        report(row)
        if bad_diffs == MAX_BAD_DIFFS_IN_A_ROW:
            raise NeedsPerson(f"{bad_diffs} proposals in a row could not be read or applied, the last: {row.detail}")
    return reason

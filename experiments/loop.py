"""The loop: open or resume a run, measure the baseline, then propose and try until told to stop."""

import contextlib
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data.corpus import Corpus
from data.errors import CaddieError, MachineError, NeedsPerson, NoProposal, SandboxError
from data.state import State
from experiments import calls, runners, spending, standing, stop
from experiments import lock as locks
from experiments.asking import PROPOSER_FOLDER, Asker
from experiments.baseline import baseline, budget
from experiments.bench import WORK, Bench
from experiments.control import baseline_runs
from experiments.ledger import Ledger, Row
from experiments.session import Session
from experiments.settle import settle_lost
from experiments.tiers import PROFILES
from experiments.trial import run_trial
from experiments.workspace import Workspace
from preflight.sandbox import cleanup, residue
from preflight.sandbox.isolation import available_levels
from preflight.text import one_line

FAILURES_IN_A_ROW = 3
MISREAD_IN_A_ROW = 5
UNSAFE = "unsafe"  # a fact of a run whose person said so


def open_bench(
    root: Path,
    run: str,
    profile: str,
    announce: Callable[[int, str, str], None],
    level: str | None = None,
    unsafe: bool = False,
) -> Bench:
    """A run's bench; a run keeps the profile it was started with, and what it was allowed with `unsafe`."""
    if profile not in PROFILES:
        raise CaddieError(f"got profile {profile!r}, expected one of {', '.join(PROFILES)}")
    levels = available_levels()
    level = level or levels[0]
    if level not in levels:
        raise CaddieError(f"got sandbox level {level!r}, this machine offers {', '.join(levels)}")
    root = root.resolve()
    workspace = Workspace(root, standing.checked_name(run))
    folder = root / "trials" / run
    if not standing.is_begun(folder / "ledger.sqlite"):
        workspace.head()
        standing.require_room(workspace)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        if (lock := locks.take(folder / "lock")) is None:
            holder = locks.holder(folder / "lock")
            raise CaddieError(f"run {run} is being worked on by {holder}; stop that or choose another --run")
        held.enter_context(lock)
        ledger = Ledger(folder / "ledger.sqlite")
        held.callback(ledger.close)
        if (known := ledger.fact("profile") or profile) != profile:
            raise CaddieError(f"run {run} has profile {known}, got {profile}; choose another --run")
        if PROFILES[profile].gpus and not (unsafe or ledger.fact(UNSAFE)) and residue.bits(level) > residue.GOAL_BITS:
            raise CaddieError(
                f"sandbox level {level} leaves {residue.in_words(level)}; dear runs need namespaces (bubblewrap), "
                "or --unsafe, at your risk"
            )
        if unsafe:
            ledger.set_fact(UNSAFE, "yes")
        if ledger.fact("profile") is None:
            workspace.set_best(workspace.head(), workspace.resolve(f"refs/heads/experiments/{run}/best"))
            ledger.set_fact("profile", profile)
        corpus = Corpus.open(root / "shards" / PROFILES[profile].corpus, verify=True)
        held.pop_all()  # until the bench is closed
    tier, proxy, runner = PROFILES[profile].tier, PROFILES[profile].proxy, runners.runner("local")
    return Bench(run, folder, lock, workspace, ledger, profile, tier, proxy, corpus, runner, level, announce)


def recover(bench: Bench) -> list[Row]:
    """After any crash: nothing of it runs on, what was under way becomes `infra`, the incumbent is the ledger's."""
    standing.require_known_best(bench.workspace, bench.ledger.rows())
    before = bench.workspace.resolve(f"refs/heads/experiments/{bench.run}/best")
    lost = bench.ledger.unsettled()
    shared = [bench.folder / name for name in (PROPOSER_FOLDER, WORK)]
    for folder in [*shared, *(bench.trial_folder(row.number) for row in lost)]:
        cleanup.clear(folder)
    for row in lost:
        settle_lost(bench, row.number, State.INFRA, "the controller ended before this trial did")
    calls.settle_lost(bench.ledger)
    incumbent = bench.ledger.incumbent()
    if incumbent and incumbent.commit_id:
        bench.workspace.set_best(incumbent.commit_id, before)
    return lost


def stopped(bench: Bench) -> None:
    """What a person's Ctrl-C left unsettled."""
    for row in bench.ledger.unsettled():
        settle_lost(bench, row.number, State.STOPPED, "stopped by a person")
    for row in bench.ledger.rows():
        if row.state is State.STOPPED:
            cleanup.clear(bench.trial_folder(row.number))
    for name in (PROPOSER_FOLDER, WORK):
        cleanup.clear(bench.folder / name)
    calls.settle_lost(bench.ledger)


@dataclass(frozen=True)
class Order:
    """What a person asked of a session."""

    trials: int
    hours: float
    budget_usd: float | None
    stop_file: Path | None

    def done(self, bench: Bench, session: Session) -> str:
        """Why no other trial starts; empty while one may."""
        profile = PROFILES[bench.profile]
        if (settled := session.settled(bench.ledger)) >= self.trials:
            return f"{settled} trials are settled"
        if self.stop_file and stop.asked(self.stop_file, bench.run):
            return stop.obeyed(self.stop_file, bench.run)
        if session.hours > self.hours:
            return f"{self.hours:g} hours are over"
        return spending.over_budget(bench.ledger, profile, self.budget_usd, profile.longest_trial_minutes)


def run(
    bench: Bench,
    proposer: str,
    trials: int,
    hours: float,
    report: Callable[[Row], None],
    arguments: tuple[str, ...] = (),
    stop_file: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    session_name: str = "",
    budget_usd: float | None = None,
) -> str:
    """Run until the session has its `trials`, its `hours` are over, or nothing is left; says why it ended.

    One session name is one order for trials, however often the controller is started for it.
    """
    session = Session.begin(bench.ledger, session_name)  # first of all: whatever fails below is counted as a start
    if stop_file and session.starts == 1 and stop.asked(stop_file, bench.run):
        raise NeedsPerson(stop.left_over(stop_file))
    if pause := session.pause_seconds:
        say(f"start {session.starts} since the last settled trial: waiting {pause} s")
        time.sleep(pause)
    bench.workspace.unlock()
    cleanup.clear(bench.folder / "doctor")
    if unknown := standing.unknown_branches(bench.workspace, bench.ledger.rows()):
        numbers = ", ".join(f"{number:04d}" for number in unknown[:5]) + (" …" if unknown[5:] else "")
        say(f"the ledger is older than branches experiments/{bench.run}/{numbers}: they stay, and later numbers follow")
    for row in recover(bench):
        report(bench.ledger.row(row.number))
    order, profile = Order(trials, hours, budget_usd, stop_file), PROFILES[bench.profile]
    known = any(row.state is State.BASELINE for row in bench.ledger.rows())
    if not known and (over := spending.over_budget(bench.ledger, profile, budget_usd, profile.baseline_minutes)):
        return over
    start = baseline(bench, lambda: session.progress(bench.ledger))
    report(start)
    asker = Asker(bench, proposer, arguments, say)
    try:
        return _trials(bench, session, order, start, asker, report)
    finally:
        asker.stop()
        calls.settle_lost(bench.ledger)


def _trials(
    bench: Bench, session: Session, order: Order, start: Row, asker: Asker, report: Callable[[Row], None]
) -> str:
    """One trial after another until the order is done; says why it ended."""
    failures, misread, limits = 0, 0, budget(bench, start)
    while not (done := order.done(bench, session)):
        try:
            began = time.monotonic()
            text = asker.next()
            propose_seconds = time.monotonic() - began
            last = session.settled(bench.ledger) + 1 >= order.trials
            row = run_trial(bench, text, limits, (lambda: None) if last else asker.ahead)
        except NoProposal as reason:
            return str(reason)
        except NeedsPerson:
            raise
        except (CaddieError, OSError, sqlite3.Error) as error:
            failures += 1
            asker.say(one_line(f"failure {failures} of {FAILURES_IN_A_ROW}: {error}", 300))
            for lost in recover(bench):
                report(bench.ledger.row(lost.number))
            if failures == FAILURES_IN_A_ROW and isinstance(error, SandboxError) and baseline_runs(bench, start):
                asker.say("the baseline runs here: it was those ideas and not the machine")
                failures = 0
            if failures == FAILURES_IN_A_ROW:
                raise MachineError(f"{failures} failures in a row that no idea caused, the last: {error}") from error
            continue
        bench.ledger.add_stage(row.number, "propose", propose_seconds)
        session.progress(bench.ledger)
        failures, misread = 0, misread + 1 if row.state is State.BAD_DIFF else 0
        report(row)
        if misread == MISREAD_IN_A_ROW:
            raise NeedsPerson(f"{misread} proposals in a row could not be read or applied, the last: {row.detail}")
    return done

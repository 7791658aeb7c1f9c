"""The open run: everything a trial needs that does not change from one trial to the next."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import TextIO

from common import lock as locks
from common.errors import CaddieError
from common.text import one_line
from data.corpus import Corpus
from experiments.ledger import store
from experiments.ledger.rows import MeasurementRow
from experiments.ledger.store import Ledger
from experiments.repo import run_name
from experiments.repo.workspace import Workspace
from experiments.run import consistency, gc, progress
from experiments.run import machine as machines
from experiments.run.layout import WORK, ledger_path, measurement_folder, open_ledger
from experiments.runner.job import Runner
from experiments.runner.local import LocalRunner
from experiments.tiers import Profile, Tier
from preflight.sandbox.cleanup import remove_tree
from preflight.sandbox.isolation import residue
from preflight.sandbox.isolation.levels import available_levels
from preflight.source import bundle

UNSAFE = "unsafe"  # the fact that a run was started with --unsafe


@dataclass(frozen=True)
class Run:
    """Everything a trial needs that does not change from one trial to the next.

    `open_run` makes one; close it to release the lock.

    Args:
        name: The name of the run.
        folder: The folder trials/<name>.
        lock: Held while the run is open, so that each run has one controller.
        workspace: Git, as this run sees it.
        ledger: The run's database.
        profile: The name of the profile.
        machine: The profile, as it was when the run began.
        tier: The tier that decides the search.
        proxy: A cheaper tier that runs first, if the profile has one.
        corpus: The verified corpus of the profile.
        runner: Where measurements run.
        level: The sandbox level.
        announce: Called with (trial, title, stage) when a stage starts.

    Example:
        >>> run = open_run(Path(), "night", "pocket", lambda number, title, stage: None)
        >>> run.ledger.incumbent()
        >>> run.close()
    """

    name: str
    folder: Path
    lock: TextIO
    workspace: Workspace
    ledger: Ledger
    profile: str
    machine: Profile
    tier: Tier
    proxy: Tier | None
    corpus: Corpus
    runner: Runner
    level: str
    announce: Callable[[int, str, str], None]

    def close(self) -> None:
        """Close the ledger and release the lock, so that another controller can open the run."""
        self.ledger.close()
        self.lock.close()

    def trial_folder(self, number: int) -> Path:
        return self.folder / f"{number:04d}"

    def work_folder(self) -> Path:
        """Return a new path for a measurement; it tells the program nothing about itself, its trial or its purpose."""
        return self.folder / WORK / f"m_{token_hex(8)}"

    def measurement_folder(self, number: int, measurement: MeasurementRow) -> Path:
        return measurement_folder(self.folder, number, measurement)

    def begin_trial(self, title: str, kind: str, parent: str, **columns: object) -> int:
        """Write a row for a trial that is about to start; returns its number."""
        number = self.ledger.begin(
            at_least=1 + max(self.workspace.trial_commits(), default=-1),
            title=one_line(title),
            kind=kind,
            parent=parent,
            profile=self.profile,
            tier=self.tier.name,
            sandbox_level=self.level,
            trials_can_read_text=self.corpus.manifest.trials_can_read_text,
            **columns,
        )
        gc.delete_expired_checkpoints(self.folder, self.ledger, number)
        return number

    @contextmanager
    def stage(self, number: int, title: str, name: str, detail: str = "") -> Iterator[None]:
        """Announce, record and time one stage of a trial; `detail` says more, such as `, seed 2 of 3`."""
        self.announce(number, title, name + detail)
        progress.save(self.ledger, number, title, name + detail)
        started = time.monotonic()
        try:
            yield
        finally:
            self.ledger.add_stage(number, name, time.monotonic() - started)
            progress.clear(self.ledger)


def open_run(
    root: Path,
    run: str,
    profile: str,
    announce: Callable[[int, str, str], None],
    level: str | None = None,
    unsafe: bool = False,
    wanted: Profile | None = None,
) -> Run:
    """Open a run, or start it if there is none of that name.

    Args:
        root: The repository that holds base/.
        run: The name of the run.
        profile: A name in profiles.toml; a run keeps the profile that it was started with.
        announce: Called with (trial, title, stage) when a stage starts.
        level: The sandbox level; None for the best that this machine offers.
        unsafe: Allow a GPU run in isolation that leaks more than the goal; a run remembers it.
        wanted: The profile with another training time or corpus; None as it is in profiles.toml.

    Raises:
        CaddieError: The request does not fit the machine or the run; the message says what to do.
    """
    levels = available_levels()
    level = level or levels[0]
    if level not in levels:
        raise CaddieError(f"got sandbox level {level!r}, this machine offers {', '.join(levels)}")
    root = root.resolve()
    workspace = Workspace(root, run_name.checked_name(run))
    folder = root / "trials" / run
    if not store.contains_run(folder / "ledger.sqlite"):
        workspace.head()
        consistency.require_unused_name(workspace)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if (lock := locks.acquire(folder / "lock")) is None:
            holder = locks.holder(folder / "lock")
            raise CaddieError(f"run {run} is in use by {holder}; stop that process or choose another --run")
        stack.enter_context(lock)
        ledger = Ledger(folder / "ledger.sqlite")
        stack.callback(ledger.close)
        if (known := ledger.fact("profile") or profile) != profile:
            raise CaddieError(f"run {run} has profile {known}, got {profile}; choose another --run")
        begun = ledger.fact("profile") is not None
        machine = machines.profile_of(ledger) if begun else wanted or machines.named(profile)
        if machine.gpus and not (unsafe or ledger.fact(UNSAFE)) and residue.bits(level) > residue.GOAL_BITS:
            raise CaddieError(
                f"sandbox level {level} leaves {residue.describe(level)}; expensive runs need namespaces "
                "(bubblewrap), or --unsafe, at your own risk"
            )
        if unsafe:
            ledger.set_fact(UNSAFE, "yes")
        corpus = Corpus.open(machines.corpus_folder(root, machine), verify=True)
        if not begun:
            announce(0, "the baseline", "set-up")
            machine = _definite(workspace, machine, corpus, level, folder)
            begin(workspace, ledger, profile, machine, workspace.head())
        stack.pop_all()  # the run is open until it is closed
    tiers = (machine.tier, machine.proxy)
    return Run(run, folder, lock, workspace, ledger, profile, machine, *tiers, corpus, LocalRunner(), level, announce)


def _definite(workspace: Workspace, machine: Profile, corpus: Corpus, level: str, folder: Path) -> Profile:
    """Return the profile of a run that begins at HEAD (experiments/run/machine.py)."""
    work = folder / WORK / "steps"
    remove_tree(work)
    work.mkdir(parents=True)
    try:
        program = work / bundle.NAME
        program.write_bytes(bundle.build(workspace.read(workspace.head())))
        return machines.definite(machine, corpus, program, level, work)
    finally:
        remove_tree(work)


def begin(workspace: Workspace, ledger: Ledger, profile: str, machine: Profile, start: str) -> None:
    """Begin a run at a commit."""
    workspace.set_best(start, workspace.resolve(f"refs/heads/experiments/{workspace.run}/best"))
    ledger.set_fact(consistency.HEAD_BASE, workspace.base_of("HEAD"))
    machines.record(ledger, profile, machine)


def begin_at(root: Path, run: str, number: int, new: str) -> None:
    """Begin the run `new` at a trial of another run, with that run's profile and options.

    Raises:
        CaddieError: The trial has no commit, or there is a run `new` already.
    """
    root = root.resolve()
    workspace, path = Workspace(root, run_name.checked_name(new)), ledger_path(root, new)
    if store.contains_run(path):
        raise CaddieError(f"run {new} exists already; choose another name")
    consistency.require_unused_name(workspace)
    with contextlib.closing(open_ledger(root, run)) as old:
        row, profile = old.row(number), old.fact("profile") or ""
        if not row.commit_id:
            raise CaddieError(f"trial {number} of run {run} has no commit; its state is {row.state}")
        with contextlib.closing(Ledger(path)) as ledger:
            if options := old.fact("options"):
                ledger.set_fact("options", options)
            begin(workspace, ledger, profile, machines.profile_of(old), row.commit_id)


def reopen(root: Path, run: str, announce: Callable[[int, str, str], None]) -> Run:
    """Open an existing run with the profile that it was started with; raises CaddieError if there is none."""
    with contextlib.closing(open_ledger(root, run)) as ledger:
        profile = ledger.fact("profile") or ""
    return open_run(root, run, profile, announce)

"""One trial: a proposal becomes a tree, passes preflight, is measured, judged, committed and settled."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TextIO

from data.corpus import Corpus
from data.errors import ProposalError, Refused
from experiments.job import Budget, Job, Measured, Runner
from experiments.judge import judge
from experiments.ledger import Ledger, Row
from experiments.proposal import Proposal, apply, changed_lines, is_no_op, title_of
from experiments.session import Session
from experiments.state import State
from experiments.tiers import Tier
from experiments.workspace import Workspace
from preflight import bundle, checks
from preflight.leftovers import discard
from preflight.text import one_line, quoted
from preflight.tree import Tree

LOST_TWICE = 2
KNOB_FILES = {"base/config.py", "base/presets.py"}


@dataclass(frozen=True)
class Bench:
    """Everything a trial needs that does not change from one to the next."""

    run: str
    folder: Path  # trials/<run>
    lock: TextIO  # one controller per run
    workspace: Workspace
    ledger: Ledger
    session: Session
    profile: str
    tier: Tier
    corpus: Corpus
    runner: Runner
    level: str
    announce: Callable[[int, str, str], None]  # trial, title, stage

    def close(self) -> None:
        """Let another controller have the run."""
        self.ledger.close()
        self.lock.close()

    def trial_folder(self, number: int) -> Path:
        return self.folder / f"{number:04d}"

    def intent(self, title: str, kind: str, parent: str, **columns: object) -> int:
        """A row for what is about to be tried."""
        return self.ledger.begin(
            title=one_line(title),
            kind=kind,
            parent=parent,
            profile=self.profile,
            tier=self.tier.name,
            sandbox_level=self.level,
            trials_can_read_text=self.corpus.manifest.trials_can_read_text,
            **columns,
        )

    @contextmanager
    def stage(self, number: int, title: str, name: str) -> Iterator[None]:
        """Announce and time one stage of a trial."""
        self.announce(number, title, name)
        started = time.monotonic()
        try:
            yield
        finally:
            self.ledger.add_stage(number, name, time.monotonic() - started)


def run_trial(bench: Bench, text: str, budget: Budget) -> Row:
    """Try one proposal to a settled row. The machine's own failures settle as `infra` and are raised."""
    incumbent = bench.ledger.incumbent()
    assert incumbent is not None
    parent = bench.workspace.best()
    try:
        proposal = Proposal.parse(text)
        columns = {"hypothesis": one_line(proposal.hypothesis, 2000), "proposal": proposal.to_json()}
        number = bench.intent(
            proposal.title, proposal.kind, parent, expected_delta_bpb=proposal.expected_delta_bpb, **columns
        )
    except ProposalError as error:
        number = bench.intent(title_of(text), "none", parent, hypothesis="", proposal=one_line(text, 2000))
        return settle(bench, number, None, State(error.verdict), detail=str(error))
    title = one_line(proposal.title)
    tree: str | None = None
    try:
        with bench.stage(number, title, "tree"):
            sources, tree = _make_tree(bench, number, proposal, parent)
        folder = bench.trial_folder(number)
        discard(folder)
        with bench.stage(number, title, "preflight"):
            bench.ledger.update(number, state=State.PREFLIGHT.value)
            before = bench.workspace.read(parent)
            report = checks.run(sources, before, bench.tier.target, bench.corpus, folder, bench.level)
        for tier, seconds in report.seconds.items():
            bench.ledger.add_stage(number, f"preflight: {tier}", seconds)
        if not report.passed:
            raise report.findings[0].refusal()
        bench.ledger.update(number, knobs=report.knobs)
        changed = {path for path in sources.keys() | before.keys() if sources.get(path) != before.get(path)}
        if changed <= KNOB_FILES and report.knobs == incumbent.knobs:
            # It would measure the incumbent again.
            message = f"no knob of preset {bench.tier.target.preset} changes; edit its preset or a default it uses"
            raise ProposalError("no_op", message)
        measured = measure(bench, number, title, folder / bundle.NAME, budget)
        bench.ledger.update(number, state=State.JUDGED.value)
        judgement = judge(measured, bench.ledger.measurements(incumbent.number), bench.tier.margin_bpb)
        state = State.KEPT if judgement.kept else State.DISCARDED
        return settle(bench, number, tree, state, measured, delta_bpb=judgement.delta_bpb, detail=judgement.reason)
    except Refused as refusal:
        return settle(bench, number, tree, State(refusal.verdict), detail=str(refusal))
    except KeyboardInterrupt:
        settle_lost(bench, number, State.STOPPED, "stopped by a person")
        raise
    except BaseException as error:
        settle_lost(bench, number, State.INFRA, str(error) or type(error).__name__)
        raise


def settle_lost(bench: Bench, number: int, state: State, why: str) -> None:
    """End a row that says nothing about its idea, if it is not settled already."""
    with undisturbed():
        if not bench.ledger.row(number).state.finished:
            bench.ledger.settle(number, state, detail=one_line(why, 1000))
            bench.workspace.drop(number)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Bookkeeping: Ctrl-C and kill wait until it is done, for git as well, which inherits the mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def measure(bench: Bench, number: int, title: str, program: Path, budget: Budget) -> list[Measured]:
    """One bundle on every seed of the tier."""
    bench.ledger.update(number, state=State.RUNNING.value)
    found = []
    for seed in bench.tier.seeds:
        folder = program.parent / f"seed_{seed}"
        with bench.stage(number, title, "measure"):
            job = Job(program, bench.tier, bench.corpus, seed, budget, folder, bench.level)
            measured = bench.runner.measure(job)
        bench.ledger.add_measurement(number, bench.tier.name, bench.tier.split, measured)
        found.append(measured)
    return found


def settle(
    bench: Bench, number: int, tree: str | None, state: State, measured: list[Measured] | None = None, **columns: object
) -> Row:
    """Write the one commit and end the row; the incumbent moves to what was kept."""
    with undisturbed():
        return _settle(bench, number, tree, state, measured or [], **columns)


def _settle(
    bench: Bench, number: int, tree: str | None, state: State, measured: list[Measured], **columns: object
) -> Row:
    started = time.monotonic()
    row = bench.ledger.row(number)
    values: dict[str, object] = {**columns, "detail": one_line(str(columns.get("detail", "")), 1000)}
    if measured:
        values["val_bpb"] = fmean(one.val_bpb for one in measured)
        values["artifact_bytes"] = max(one.artifact_bytes for one in measured)
        values["train_seconds"] = fmean(one.train_wall_seconds for one in measured)
        values["score_seconds"] = fmean(one.score_wall_seconds for one in measured)
        values["honesty_bpb"] = max(one.honesty_bpb for one in measured)
        values["rare_bpb"] = max(one.rare_bpb for one in measured)
    if state is State.BASELINE:
        values["commit_id"] = row.parent
    else:
        tree = tree or bench.workspace.tree_of(row.parent)
        seeds = [one.seed for one in measured]
        message = commit_message(row, state, tree, values, seeds)
        values["commit_id"] = bench.workspace.commit(number, tree, row.parent, message)
    # The branch moves before the row ends: a crash between the two is mended by `recover`, which trusts the row.
    if state in (State.KEPT, State.BASELINE):
        bench.workspace.set_best(str(values["commit_id"]))
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


def _make_tree(bench: Bench, number: int, proposal: Proposal, parent: str) -> tuple[Tree, str]:
    """The candidate's tree, held under its ref before anything runs; raises Refused."""
    if proposal.parent != parent:
        message = f"written against {proposal.parent[:10]}, expected the incumbent {parent[:10]}; propose again"
        raise ProposalError("bad_diff", message)
    before = bench.workspace.read(parent)
    sources = apply(proposal, before)
    tree = bench.workspace.write(sources, parent)
    added, removed = changed_lines(sources, before)
    earlier = bench.ledger.with_tree(tree)
    bench.ledger.update(number, tree=tree, lines_added=added, lines_removed=removed)
    bench.workspace.hold(number, tree)
    if is_no_op(sources, before):
        raise ProposalError("no_op", "the edits change nothing but comments and layout; expected a change of behaviour")
    if len(lost := bench.ledger.lost(tree)) >= LOST_TWICE:
        numbers = " and ".join(f"{row.number:04d}" for row in lost)
        raise ProposalError("duplicate", f"trials {numbers} of this tree ended with the machine; not a third time")
    if earlier:
        outcome = f"{earlier.state} at {earlier.val_bpb:.4f} bpb" if earlier.val_bpb else str(earlier.state)
        raise ProposalError("duplicate", f"this tree is trial {earlier.number:04d} ({outcome}); expected a new one")
    return sources, tree

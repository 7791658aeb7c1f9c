"""Run one trial: a proposal becomes a tree, passes preflight, is measured, judged, committed and settled."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from common.errors import IncumbentFailed, ProposalError, Refused
from common.state import State
from common.text import one_line
from experiments.analysis.pairing import reference_seeds
from experiments.analysis.sizes import size_ratios
from experiments.ledger.rows import Row
from experiments.proposal.gate import Change, gates
from experiments.proposal.knob_edits import KNOB_FILES
from experiments.proposal.parts import PERSON, REFUSED, by_of, part_of, title_of
from experiments.proposal.schema import TEXT_BYTES, Proposal
from experiments.run.run import Run
from experiments.runner.job import Budget
from experiments.tiers import CONTROL_EVERY
from experiments.trial.compare import Judgment, compare
from experiments.trial.equal_compute import grant_steps
from experiments.trial.incumbent import disown, refresh
from experiments.trial.measure import Entry
from experiments.trial.same_weights import checkpoints, leaves_training_alone
from experiments.trial.settle import mark_lost, settle, settle_refused
from preflight import checks
from preflight.sandbox.cleanup import remove_tree
from preflight.source import bundle
from preflight.source.tree import Tree


def run_trial(
    run: Run, text: str, budget: Budget, on_start: Callable[[], None] = lambda: None, by_person: bool = False
) -> Row:
    """Try one proposal and return its settled row.

    Args:
        run: The run, whose baseline has been measured.
        text: The proposal as its proposer wrote it; invalid text is settled as `bad_diff`.
        budget: CPU seconds of each phase.
        on_start: Called once the ledger knows what is being tried, so that the next proposer process can see it.
        by_person: The text comes from the run's queue of requests, so its change may be as large as it needs to be.

    Raises:
        CaddieError: The machine failed. The trial is settled as `infra` first.
    """
    incumbent, baseline = run.ledger.incumbent(), run.ledger.baseline()
    assert incumbent is not None and baseline is not None  # noqa: PT018
    parent = run.workspace.best()
    try:
        proposal = Proposal.parse(text if by_person else _not_by_person(text))
        columns = {"hypothesis": one_line(proposal.hypothesis, 2000), "proposal": proposal.to_json()}
        number = run.begin_trial(
            proposal.title, proposal.kind, parent, expected_delta_bpb=proposal.expected_delta_bpb, **columns
        )
    except ProposalError as error:
        text = text if by_person else _not_by_person(text)
        number = run.begin_trial(title_of(text), "none", parent, hypothesis="", proposal=one_line(text, TEXT_BYTES))
        return settle(run, number, None, error.verdict, detail=str(part_of(text, REFUSED) or error))
    title = one_line(proposal.title)
    tree: str | None = None
    try:
        with run.stage(number, title, "tree"):
            sources, tree = _make_tree(run, number, proposal, parent)
        on_start()
        program, known = _preflight(run, number, title, sources, incumbent, parent)
        if known:
            run.ledger.update(number, steps=incumbent.steps, step_cost=incumbent.step_cost)
        elif run.tier.equal_compute:
            with run.stage(number, title, "pace"):
                grant = grant_steps(run, baseline, incumbent, program)
            run.ledger.update(number, steps=grant.steps, step_cost=grant.step_cost)
        run.ledger.update(number, state=State.RUNNING.value)
        judgment = _judge(run, Entry(number, title, program, budget), incumbent, known)
        values = {"delta_bpb": judgment.delta_bpb, "detail": judgment.reason}
        return settle(run, number, tree, judgment.state, judgment.reported, **values)
    except Refused as refusal:
        return settle_refused(run, number, tree, refusal)
    except IncumbentFailed as failure:
        restored = disown(run, incumbent, number, str(failure))
        detail = (
            f"its incumbent, trial {incumbent.number:04d}, {failure}; "
            f"trial {restored.number:04d} is the incumbent again"
        )
        return settle(run, number, tree, State.UNJUDGED, detail=detail)
    except KeyboardInterrupt:
        mark_lost(run, number, State.STOPPED, "stopped by the user")
        raise
    except BaseException as error:
        mark_lost(run, number, State.INFRA, str(error) or type(error).__name__)
        raise


def _not_by_person(text: str) -> str:
    """Return a proposer's text; one that claims to be a person's is replaced, so that no row can pass for one."""
    if by_of(text) != PERSON:
        return text
    reason = f"by: got {PERSON}, which only `experiments try` and `queue` may claim"
    return json.dumps({"title": title_of(text), REFUSED: reason})


def _preflight(
    run: Run, number: int, title: str, sources: Tree, incumbent: Row, parent: str
) -> tuple[Path, dict[int, Path]]:
    """Check a candidate before it is measured; raises Refused.

    Returns the path of its bundle, and the incumbent's checkpoints if they are all that it must be measured on.
    """
    folder = run.trial_folder(number)
    remove_tree(folder)
    with run.stage(number, title, "preflight"):
        run.ledger.update(number, state=State.PREFLIGHT.value)
        before = run.workspace.read(parent)
        report = checks.run(
            sources, before, run.tier.target, run.corpus, folder, run.level, ratios=size_ratios(run.ledger)
        )
    for tier, seconds in report.seconds.items():
        run.ledger.add_stage(number, f"preflight: {tier}", seconds)
    if report.size:
        run.ledger.update(number, size=report.size.to_json())
    if not report.passed:
        raise report.findings[0].refusal()
    run.ledger.update(number, knobs=report.knobs)
    changed = {path for path in sources.keys() | before.keys() if sources.get(path) != before.get(path)}
    if changed <= KNOB_FILES and report.knobs == incumbent.knobs:  # it would measure the incumbent again
        message = f"no knob of preset {run.tier.target.preset} changes; edit its preset or a default it uses"
        raise ProposalError(State.NO_OP, message)
    alike = leaves_training_alone(sources, before, report, incumbent)
    return folder / bundle.NAME, checkpoints(run, incumbent, run.tier) if alike else {}


def _judge(run: Run, entry: Entry, incumbent: Row, known: Mapping[int, Path]) -> Judgment:
    """Compare at the proxy first, if there is one, then at the run's tier; controls go on whatever the proxy says.

    What leaves training alone has a better proxy: the incumbent's checkpoints.
    """
    proxy_reason = ""
    if (
        not known and run.proxy and reference_seeds(run.ledger, incumbent, run.proxy)
    ):  # none in a run started without a proxy
        refresh(run, incumbent, run.proxy, run.tier.rule.seeds)
        try:
            judgment = compare(run, entry, incumbent, run.proxy)
        except Refused as refusal:  # a value measured at the proxy is no value of the tier that decides
            raise Refused(refusal.verdict, f"proxy: {refusal}", spent=refusal.spent) from refusal
        if judgment.state is State.DISCARDED and entry.number % CONTROL_EVERY:
            return replace(judgment, delta_bpb=None, reported=[], reason=f"proxy: {judgment.reason}")
        proxy_reason = f"; proxy: {judgment.reason}"
    try:
        return compare(run, entry, incumbent, run.tier, known)
    except Refused as refusal:
        if proxy_reason and refusal.verdict.hit_limit:  # nothing else is known of it
            raise refusal.with_message(f"{refusal}{proxy_reason}") from refusal
        raise


def _make_tree(run: Run, number: int, proposal: Proposal, parent: str) -> tuple[Tree, str]:
    """Apply a proposal and write the tree under its own ref before anything runs; raises Refused."""
    if proposal.parent != parent:
        message = f"written against {proposal.parent[:10]}, expected the incumbent {parent[:10]}; propose again"
        raise ProposalError(State.BAD_DIFF, message)
    change = Change.make(proposal, run.workspace.read(parent))
    tree = run.workspace.write(change.tree, parent)
    run.ledger.update(number, tree=tree, **change.columns())
    run.workspace.keep_tree(number, tree)
    for _ in gates(change, run.ledger.rows()[:-1], static=False, tree_id=tree):
        pass
    return change.tree, tree

"""One trial: a proposal becomes a tree, passes preflight, is measured, judged, committed and settled."""

import json
from collections.abc import Callable
from dataclasses import replace

from data.errors import IncumbentFailed, ProposalError, Refused
from data.state import State
from experiments import novelty
from experiments.bench import Bench
from experiments.comparison import Judgement, compare
from experiments.compute import granted
from experiments.incumbent import disown, refresh
from experiments.job import Budget
from experiments.ledger import Row
from experiments.measurement import Entry
from experiments.proposal import (
    MERGE,
    REFUSED,
    TEXT_BYTES,
    Proposal,
    apply,
    changed_lines,
    is_no_op,
    net_code_lines,
    part_of,
    title_of,
)
from experiments.replicates import generation
from experiments.settle import settle, settle_lost, settle_refused
from experiments.tiers import CONTROL_EVERY
from preflight import bundle, checks
from preflight.sandbox.cleanup import discard
from preflight.text import one_line
from preflight.tree import Tree

LOST_TWICE = 2
KNOB_FILES = {"base/config.py", "base/presets.py"}


def run_trial(bench: Bench, text: str, budget: Budget, under_way: Callable[[], None] = lambda: None) -> Row:
    """Try one proposal to a settled row. The machine's own failures settle as `infra` and are raised.

    `under_way` is told once the ledger knows what is being tried, so that whoever proposes next can see it.
    """
    incumbent, start = bench.ledger.incumbent(), bench.ledger.baseline()
    assert incumbent is not None
    assert start is not None
    parent = bench.workspace.best()
    try:
        proposal = Proposal.parse(text)
        columns = {"hypothesis": one_line(proposal.hypothesis, 2000), "proposal": proposal.to_json()}
        number = bench.intent(
            proposal.title, proposal.kind, parent, expected_delta_bpb=proposal.expected_delta_bpb, **columns
        )
    except ProposalError as error:
        number = bench.intent(title_of(text), "none", parent, hypothesis="", proposal=one_line(text, TEXT_BYTES))
        return settle(bench, number, None, error.verdict, detail=str(part_of(text, REFUSED) or error))
    title = one_line(proposal.title)
    tree: str | None = None
    try:
        with bench.stage(number, title, "tree"):
            sources, tree = _make_tree(bench, number, proposal, parent)
        under_way()
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
            raise ProposalError(State.NO_OP, message)
        if bench.tier.equal_compute:
            with bench.stage(number, title, "pace"):
                given = granted(bench, start, incumbent, folder / bundle.NAME)
            bench.ledger.update(number, steps=given.steps, step_cost=given.step_cost)
        bench.ledger.update(number, state=State.RUNNING.value)
        judgement = _judged(bench, Entry(number, title, folder / bundle.NAME, budget), incumbent)
        state, delta = judgement.state, judgement.delta_bpb
        return settle(bench, number, tree, state, judgement.believed, delta_bpb=delta, detail=judgement.reason)
    except Refused as refusal:
        return settle_refused(bench, number, tree, refusal)
    except IncumbentFailed as failed:
        holder = disown(bench, incumbent, number, str(failed))
        told = f"its incumbent, trial {incumbent.number:04d}, {failed}; trial {holder.number:04d} holds again"
        return settle(bench, number, tree, State.UNJUDGED, detail=told)
    except KeyboardInterrupt:
        settle_lost(bench, number, State.STOPPED, "stopped by a person")
        raise
    except BaseException as error:
        settle_lost(bench, number, State.INFRA, str(error) or type(error).__name__)
        raise


def _judged(bench: Bench, entry: Entry, incumbent: Row) -> Judgement:
    """The tiers in order; what the proxy sorts out ends there, but for the controls."""
    sorted_out = ""
    if bench.proxy and generation(bench.ledger, incumbent, bench.proxy):  # a run begun without a proxy has no numbers
        refresh(bench, incumbent, bench.proxy, bench.tier.rule.seeds)
        try:
            proxied = compare(bench, entry, incumbent, bench.proxy)
        except Refused as refusal:  # what it had there is no value of the tier that decides
            raise Refused(refusal.verdict, f"proxy: {refusal}", spent=refusal.spent) from refusal
        if proxied.state is State.DISCARDED and entry.number % CONTROL_EVERY:
            return replace(proxied, delta_bpb=None, believed=[], reason=f"proxy: {proxied.reason}")
        sorted_out = f"; proxy: {proxied.reason}"
    try:
        return compare(bench, entry, incumbent, bench.tier)
    except Refused as refusal:
        if sorted_out and refusal.verdict.limit:  # all that is known of it
            raise refusal.reworded(f"{refusal}{sorted_out}") from refusal
        raise


def _make_tree(bench: Bench, number: int, proposal: Proposal, parent: str) -> tuple[Tree, str]:
    """The candidate's tree, held under its ref before anything runs; raises Refused."""
    if proposal.parent != parent:
        message = f"written against {proposal.parent[:10]}, expected the incumbent {parent[:10]}; propose again"
        raise ProposalError(State.BAD_DIFF, message)
    before = bench.workspace.read(parent)
    sources = apply(proposal, before)
    tree = bench.workspace.write(sources, parent)
    added, removed = changed_lines(sources, before)
    incumbent = bench.ledger.with_commit(parent)
    name = novelty.fingerprint(sources, before, incumbent.fingerprint if incumbent else None)
    earlier = bench.ledger.with_tree(tree, name)
    counts = {"lines_added": added, "lines_removed": removed, "net_code_lines": net_code_lines(sources, before)}
    changed, others = novelty.change(sources, before), bench.ledger.rows()[:-1]
    change = json.dumps(sorted(changed))
    bench.ledger.update(number, tree=tree, fingerprint=name, change=change, **counts)
    bench.workspace.hold(number, tree)
    if is_no_op(sources, before):
        raise ProposalError(
            State.NO_OP, "the edits change nothing but comments and layout; expected a change of behaviour"
        )
    if len(lost := bench.ledger.lost(tree)) >= LOST_TWICE:
        numbers = " and ".join(f"{row.number:04d}" for row in lost)
        raise ProposalError(State.DUPLICATE, f"trials {numbers} of this tree ended with the machine; not a third time")
    if earlier:
        raise ProposalError(State.DUPLICATE, f"this tree is {novelty.told(earlier)}; expected a new one")
    if proposal.by != MERGE:  # what it unites was tried, and not together
        novelty.require_unlike(changed, others)
    return sources, tree

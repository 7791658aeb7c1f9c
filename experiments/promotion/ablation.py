"""Ablation of a kept trial: each of its changes is reverted alone and the rest is measured again."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from common.errors import CaddieError, Refused
from common.text import one_line
from experiments.analysis.pairing import reference_seeds
from experiments.ledger.measurement import ORIGINAL_ORDER
from experiments.ledger.rows import Row
from experiments.proposal.patch import is_no_op
from experiments.repo.workspace import Workspace
from experiments.run.run import Run
from experiments.runner.job import Budget, Job
from experiments.trial.equal_compute import grant_steps
from preflight import checks
from preflight.sandbox.cleanup import remove_tree
from preflight.source import bundle
from preflight.source.tree import PLAIN, Source, Tree

CONTEXT = 2  # changes with up to twice as many lines between them count as one


@dataclass(frozen=True)
class Change:
    """One hunk of a diff, and the tree without it."""

    label: str  # path:line, +added -removed
    tree: Tree


@dataclass(frozen=True)
class Ablated:
    """The trial without one change; differences in bpb by seed, positive where the change improves the trial."""

    label: str
    differences: list[float]
    verdict: str  # "" if measured; otherwise how the tree without the change ended


def changes(parent: Tree, tree: Tree) -> list[Change]:
    """Return every hunk in which two trees differ, each undone alone."""
    hunks = []
    for path in sorted(parent.keys() | tree.keys()):
        before, after = parent.get(path), tree.get(path)
        if before is None:
            hunks.append(Change(f"{path}, a new file", {name: source for name, source in tree.items() if name != path}))
        elif after is None:
            hunks.append(Change(f"{path}, removed", {**tree, path: before}))
        elif before != after:
            old, new = (side.content.decode("utf-8").splitlines(keepends=True) for side in (before, after))
            for group in difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT):
                edits = [code for code in group if code[0] != "equal"]
                (_, i1, _, j1, _), (_, _, i2, _, j2) = edits[0], edits[-1]
                undone = "".join([*new[:j1], *old[i1:i2], *new[j2:]]).encode("utf-8")
                label = f"{path}:{j1 + 1}, +{sum(code[4] - code[3] for code in edits)}"
                label += f" -{sum(code[2] - code[1] for code in edits)}"
                hunks.append(Change(label, {**tree, path: Source(PLAIN, undone)}))
    return hunks


def separable_changes(workspace: Workspace, row: Row) -> list[Change]:
    """Return the changes of a measured trial that can be undone one by one; raises CaddieError."""
    if not row.commit_id or not row.has_value:
        raise CaddieError(f"trial {row.number} was never measured; `status` lists the trials that were")
    before, after = workspace.read(row.parent), workspace.read(row.commit_id)
    return [change for change in changes(before, after) if not is_no_op(change.tree, after)]


def ablate(run: Run, row: Row, budget: Budget) -> Iterator[Ablated]:
    """Measure a trial without each of its changes, on the seeds that its own value comes from.

    Args:
        run: The run.
        row: A measured trial with at least two separable changes.
        budget: CPU seconds for each measurement.

    Raises:
        CaddieError: The trial was never measured, or is a single change.
    """
    undone = separable_changes(run.workspace, row)
    if len(undone) < 2:
        raise CaddieError(f"trial {row.number} is one change: without it, it is its parent; `show` has the difference")
    reference = reference_seeds(run.ledger, row, run.tier)
    for number, change in enumerate(undone, start=1):
        yield _ablate_change(run, row, number, change, reference, budget)


def _ablate_change(
    run: Run, row: Row, number: int, change: Change, reference: dict[int, float], budget: Budget
) -> Ablated:
    folder = run.trial_folder(row.number) / f"without_{number}"
    remove_tree(folder)
    differences: list[float] = []
    try:
        report = checks.run(
            change.tree, run.workspace.read(str(row.commit_id)), run.tier.target, run.corpus, folder, run.level
        )
        if not report.passed:
            raise report.findings[0].refusal()
        tier, start = run.tier, run.ledger.baseline()
        if start and tier.equal_compute:
            tier = tier.with_steps(grant_steps(run, start, row, folder / bundle.NAME).steps)
        for seed, value in reference.items():
            run.announce(row.number, change.label, "ablate")
            program, work = folder / bundle.NAME, folder / run.work_folder().name
            data_seed = run.ledger.data_seed(row.number, run.tier.name, seed, None) or ORIGINAL_ORDER
            job = Job(program, tier, run.corpus, seed, budget, work, run.level, False, None, data_seed)
            differences.append(run.runner.measure(job).val_bpb - value)
        verdict = ""
    except Refused as refusal:
        verdict = one_line(f"{refusal.verdict}: {refusal}", 1000)
    finally:
        remove_tree(folder)
    run.ledger.add_ablation(row.number, change.label, differences, verdict)
    return Ablated(change.label, differences, verdict)

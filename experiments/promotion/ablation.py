"""Ablation of a kept trial: each of its changes is reverted alone and the rest is measured again."""

import difflib
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from common.errors import CaddieError, Refused
from common.text import one_line
from experiments.analysis.pairing import noise_floor, reference_seeds
from experiments.judge.noise import Noise
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

HARM_P_VALUE = 0.05
REDUCED = "reduced.patch"  # in the trial's folder
CONTEXT = 2  # changes with up to twice as many lines between them count as one


@dataclass(frozen=True)
class Change:
    """One hunk of a diff, and the tree without it."""

    label: str  # path:line, +added -removed
    path: str
    tree: Tree
    lines: tuple[int, int] = (0, 0)  # in the file with the change; both 0 for a whole file
    before: str = ""  # what they replaced


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
            rest = {name: source for name, source in tree.items() if name != path}
            hunks.append(Change(f"{path}, a new file", path, rest))
        elif after is None:
            hunks.append(Change(f"{path}, removed", path, {**tree, path: before}))
        elif before != after:
            old, new = (side.content.decode("utf-8").splitlines(keepends=True) for side in (before, after))
            for group in difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT):
                edits = [code for code in group if code[0] != "equal"]
                (_, i1, _, j1, _), (_, _, i2, _, j2) = edits[0], edits[-1]
                replaced = "".join(old[i1:i2])
                undone = "".join([*new[:j1], replaced, *new[j2:]]).encode("utf-8")
                label = f"{path}:{j1 + 1}, +{sum(code[4] - code[3] for code in edits)}"
                label += f" -{sum(code[2] - code[1] for code in edits)}"
                hunks.append(Change(label, path, {**tree, path: Source(PLAIN, undone)}, (j1, j2), replaced))
    return hunks


def _undone(tree: Tree, change: Change) -> Tree:
    """Return a tree, in which later changes may be undone already, without a change."""
    if change.lines == (0, 0):
        rest = {name: source for name, source in tree.items() if name != change.path}
        return {**rest, **({change.path: change.tree[change.path]} if change.path in change.tree else {})}
    lines, (start, end) = tree[change.path].content.decode("utf-8").splitlines(keepends=True), change.lines
    content = "".join([*lines[:start], change.before, *lines[end:]])
    return {**tree, change.path: Source(PLAIN, content.encode("utf-8"))}


def harmful_parts(run: Run, row: Row, budget: Budget) -> str:
    """Return the parts that an ablation found to harm a trial and how to go on; empty if none does.

    A part harms if the trial is better without it by more than the noise of its seeds explains: one-sided at 5 % over
    all parts together (Holm 1979). The change without them is measured on the same seeds, unless that was the ablation
    itself, and written as a patch on top of the trial, which `try` measures and judges like any other.
    """
    before, after = run.workspace.read(row.parent), run.workspace.read(str(row.commit_id))
    parts = changes(before, after)
    measured = {label: values for label, values, verdict in run.ledger.ablations(row.number) if values and not verdict}
    tested = {part.label: measured[part.label] for part in parts if part.label in measured}
    labels = _harmful(tested, noise_floor(run.ledger, run.tier))
    if not labels:
        return ""
    described = "; ".join(
        f"without {one_line(label, 80)} it is better by {-fmean(tested[label]):.4f} bpb ({len(tested[label])} seeds)"
        for label in labels
    )
    reduced = without(before, after, labels)
    if is_no_op(reduced, before):
        return f"{described}. Nothing is left without it: promote what it was tried against, or it with --whole"
    if len(labels) > 1:
        together = " and ".join(labels)
        if together not in measured:
            _ablate_change(run, row, len(parts) + 1, Change(together, "", reduced), budget)
            measured = {label: values for label, values, _ in run.ledger.ablations(row.number)}
        value = f"better by {-fmean(values):.4f} bpb" if (values := measured[together]) else "no value"
        described += f"; without all of these: {value}"
    patch = run.trial_folder(row.number) / REDUCED
    patch.parent.mkdir(parents=True, exist_ok=True)
    tree = run.workspace.write(reduced, str(row.commit_id))
    patch.write_text(run.workspace.diff(str(row.commit_id), tree), encoding="utf-8")
    path, title = patch.relative_to(run.workspace.root), shlex.quote(f"trial {row.number} without what harms")
    command = f".venv/bin/python -m experiments try {path} --run {run.name} --title {title}"
    return f"{described}. Let the judge decide on the rest, and promote that: {command}; or promote it all with --whole"


def _harmful(differences: Mapping[str, Sequence[float]], noise: Noise) -> list[str]:
    """Return the labels of the parts that harm, by Holm's correction for their number."""
    p_values = {label: noise.p_value(fmean(values), len(values)) for label, values in differences.items()}
    found = []
    for rank, label in enumerate(sorted(p_values, key=lambda label: p_values[label])):
        if p_values[label] >= HARM_P_VALUE / (len(p_values) - rank):
            break
        found.append(label)
    return found


def without(parent: Tree, tree: Tree, labels: Collection[str]) -> Tree:
    """Return a tree without the changes of these labels; the labels are those of `changes`."""
    reduced = tree
    for change in reversed(changes(parent, tree)):  # from the end: the lines before a change keep their numbers
        if change.label in labels:
            reduced = _undone(reduced, change)
    return reduced


def separable_changes(workspace: Workspace, row: Row) -> list[Change]:
    """Return the changes of a measured trial that can be undone one by one; raises CaddieError."""
    if not row.commit_id or not row.has_value:
        raise CaddieError(f"trial {row.number} was never measured; `status` lists the trials that were")
    before, after = workspace.read(row.parent), workspace.read(row.commit_id)
    return [change for change in changes(before, after) if not is_no_op(change.tree, after)]


def ablate(run: Run, row: Row, budget: Budget, done: Collection[str] = ()) -> Iterator[Ablated]:
    """Measure a trial without each of its changes, on the seeds that its own value comes from.

    Args:
        run: The run.
        row: A measured trial with at least two separable changes.
        budget: CPU seconds for each measurement.
        done: Labels of changes that were measured already.

    Raises:
        CaddieError: The trial was never measured, or is a single change.
    """
    undone = separable_changes(run.workspace, row)
    if len(undone) < 2:
        raise CaddieError(f"trial {row.number} is one change: without it, it is its parent; `show` has the difference")
    for number, change in enumerate(undone, start=1):
        if change.label not in done:
            yield _ablate_change(run, row, number, change, budget)


def _ablate_change(run: Run, row: Row, number: int, change: Change, budget: Budget) -> Ablated:
    reference = reference_seeds(run.ledger, row, run.tier)
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

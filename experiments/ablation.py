"""Each change of a winner reverted alone: what earns its place, what does nothing, what holds the rest together."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from data.errors import CaddieError, Refused
from experiments.bench import Bench
from experiments.compute import granted
from experiments.job import AS_THEY_ARE, Budget, Job
from experiments.ledger import Row
from experiments.proposal import is_no_op
from experiments.replicates import generation
from experiments.workspace import Workspace
from preflight import bundle, checks
from preflight.sandbox.cleanup import discard
from preflight.text import one_line
from preflight.tree import PLAIN, Source, Tree

CONTEXT = 2  # changes with up to twice as many lines between them are taken as one


@dataclass(frozen=True)
class Change:
    """One place of a diff, and the tree without it."""

    label: str  # path:line, +added -removed
    tree: Tree


@dataclass(frozen=True)
class Ablated:
    """What the winner becomes without one change; differences in bpb by seed, positive = the change earns that much."""

    label: str
    differences: list[float]
    verdict: str  # "" = measured; else how the tree without the change ended


def changes(parent: Tree, tree: Tree) -> list[Change]:
    """Every place where two trees differ, each undone alone."""
    found = []
    for path in sorted(parent.keys() | tree.keys()):
        before, after = parent.get(path), tree.get(path)
        if before is None:
            found.append(Change(f"{path}, a new file", {name: source for name, source in tree.items() if name != path}))
        elif after is None:
            found.append(Change(f"{path}, removed", {**tree, path: before}))
        elif before != after:
            old, new = (side.content.decode("utf-8").splitlines(keepends=True) for side in (before, after))
            for group in difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT):
                edits = [code for code in group if code[0] != "equal"]
                (_, i1, _, j1, _), (_, _, i2, _, j2) = edits[0], edits[-1]
                undone = "".join([*new[:j1], *old[i1:i2], *new[j2:]]).encode("utf-8")
                label = f"{path}:{j1 + 1}, +{sum(code[4] - code[3] for code in edits)}"
                label += f" -{sum(code[2] - code[1] for code in edits)}"
                found.append(Change(label, {**tree, path: Source(PLAIN, undone)}))
    return found


def parts(workspace: Workspace, row: Row) -> list[Change]:
    """The changes of a measured trial that can be undone one by one; raises CaddieError."""
    if not row.commit_id or not row.valued:
        raise CaddieError(f"trial {row.number} was never measured; `status` lists those that were")
    before, after = workspace.read(row.parent), workspace.read(row.commit_id)
    return [change for change in changes(before, after) if not is_no_op(change.tree, after)]


def ablate(bench: Bench, row: Row, budget: Budget) -> Iterator[Ablated]:
    """Measure a winner without each of its changes, on the seeds its own value is believed on."""
    undone = parts(bench.workspace, row)
    if len(undone) < 2:
        raise CaddieError(f"trial {row.number} is one change: without it, it is its parent; `show` has the difference")
    theirs = generation(bench.ledger, row, bench.tier)
    for number, change in enumerate(undone, start=1):
        yield _ablated(bench, row, number, change, theirs, budget)


def _ablated(bench: Bench, row: Row, number: int, change: Change, theirs: dict[int, float], budget: Budget) -> Ablated:
    folder = bench.trial_folder(row.number) / f"without_{number}"
    discard(folder)
    differences: list[float] = []
    try:
        report = checks.run(
            change.tree, bench.workspace.read(str(row.commit_id)), bench.tier.target, bench.corpus, folder, bench.level
        )
        if not report.passed:
            raise report.findings[0].refusal()
        tier, start = bench.tier, bench.ledger.baseline()
        if start and tier.equal_compute:
            tier = tier.with_steps(granted(bench, start, row, folder / bundle.NAME).steps)
        for seed, value in theirs.items():
            bench.announce(row.number, change.label, "ablate")
            program, place = folder / bundle.NAME, folder / bench.work_folder().name
            data_seed = bench.ledger.data_seed(row.number, bench.tier.name, seed, None) or AS_THEY_ARE
            job = Job(program, tier, bench.corpus, seed, budget, place, bench.level, False, None, data_seed)
            differences.append(bench.runner.measure(job).val_bpb - value)
        verdict = ""
    except Refused as refusal:
        verdict = one_line(f"{refusal.verdict}: {refusal}", 1000)
    finally:
        discard(folder)
    bench.ledger.add_ablation(row.number, change.label, differences, verdict)
    return Ablated(change.label, differences, verdict)

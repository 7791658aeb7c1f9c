"""One program measured with one seed, and the ledger's note of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data.errors import Refused
from experiments.bench import Bench
from experiments.job import AS_THEY_ARE, LOSSES, Budget, Job, Measured
from experiments.ledger import Row, Taken
from experiments.replicates import new_seeds
from experiments.tiers import Tier
from preflight import bundle
from preflight.text import without_long_numbers


@dataclass(frozen=True)
class Entry:
    """A program to measure, and the trial whose it is."""

    number: int
    title: str
    program: Path
    budget: Budget


def measure(
    bench: Bench,
    entry: Entry,
    tier: Tier,
    seed: int,
    fresh_for: int | None = None,
    stage: str = "",
    filed_as: Callable[[Measured], str] | None = None,
    whole: bool = True,
) -> Measured:
    """Train, pack and score a program with one seed, and note it; the seconds count for the trial that asked.

    It is filed under its tier, where it is evidence, unless `filed_as` names another place. What decides no keep need
    not be proved `whole`.
    """
    asked_by = entry.number if fresh_for is None else fresh_for
    work = bench.work_folder()
    with bench.stage(asked_by, entry.title, stage or ("measure" if fresh_for is None else "confirm")):
        row = bench.ledger.row(entry.number)
        reference = reference_losses(bench, row, tier, seed)
        data_seed = turned_by(bench, entry, tier, seed, fresh_for)
        given, level = tier.with_steps(row.steps), bench.level
        job = Job(entry.program, given, bench.corpus, seed, entry.budget, work, level, whole, reference, data_seed)
        try:
            measured = bench.runner.measure(job)
            name = filed_as(measured) if filed_as else tier.name
            bench.ledger.add_measurement(entry.number, name, tier.split, measured, fresh_for, work.name)
        except Refused as refusal:  # it may quote the log of a program that knows its seed
            raise refusal.reworded(without_long_numbers(str(refusal))) from refusal
        finally:
            if work.exists():
                bench.trial_folder(asked_by).mkdir(parents=True, exist_ok=True)
                work.rename(bench.trial_folder(asked_by) / work.name)
    return measured


def turned_by(bench: Bench, entry: Entry, tier: Tier, seed: int, fresh_for: int | None) -> int:
    """The data seed of a measurement: what the other side of the pair had, what its batch had, or a new one.

    A batch shares it, so that two of its seeds differ by nothing but the seed (luck.require_seeds_matter); the next one
    has other data. A record runs on the challenge's data as they are.
    """
    if tier.split == "validation":
        return AS_THEY_ARE
    known = bench.ledger.data_seed(entry.number, tier.name, seed, fresh_for)
    return new_seeds(1)[0] if known is None else known


def reference_losses(bench: Bench, row: Row, tier: Tier, seed: int) -> Path | None:
    """Losses of what a trial is held against, at this tier: of the same seed, else its newest, else its ancestors'."""
    parent = bench.ledger.with_commit(row.parent)
    while parent:
        found = {one.measured.seed: path for one, path in _losses(bench, parent.number, tier)}
        if found:
            return found.get(seed, list(found.values())[-1])
        above = bench.ledger.with_commit(parent.parent)
        parent = above if above and above.number < parent.number else None
    return None


def losses_of(bench: Bench, number: int, tier: Tier) -> list[list[Path]]:
    """The losses of a trial's measurements at a tier, a file a seed, those that are still there; newest batch last."""
    batches: dict[int, list[Path]] = {}
    for one, path in _losses(bench, number, tier):
        batches.setdefault(one.measured.data_seed, []).append(path)
    return list(batches.values())


def _losses(bench: Bench, number: int, tier: Tier) -> list[tuple[Taken, Path]]:
    taken = [one for one in bench.ledger.taken(number) if one.tier == tier.name]
    places = [(one, bench.measured_in(number, one) / LOSSES) for one in taken]
    return [(one, path) for one, path in places if path.exists()]


def program_of(bench: Bench, row: Row) -> Path:
    """A trial's bundle, built again from its commit if it is gone."""
    program = bench.trial_folder(row.number) / bundle.NAME
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        partial = program.with_suffix(".partial")
        partial.write_bytes(bundle.build(bench.workspace.read(str(row.commit_id))))
        partial.replace(program)
    return program

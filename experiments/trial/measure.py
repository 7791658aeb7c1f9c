"""Measure a program with one seed and record the measurement in the ledger."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.errors import Refused
from common.text import without_long_numbers
from experiments.analysis.pairing import new_seeds
from experiments.ledger.measurement import ORIGINAL_ORDER, Measurement
from experiments.ledger.rows import MeasurementRow, Row
from experiments.run.run import Run
from experiments.runner.job import LOSSES, Budget, Job
from experiments.tiers import Tier
from preflight.source import bundle


@dataclass(frozen=True)
class Entry:
    """A program to measure, the trial that it belongs to, and its budget."""

    number: int
    title: str
    program: Path
    budget: Budget


def measure(
    run: Run,
    entry: Entry,
    tier: Tier,
    seed: int,
    fresh_for: int | None = None,
    stage: str = "",
    stored_as: Callable[[Measurement], str] | None = None,
    full_audit: bool = True,
    count: str = "",
    data_seed: int | None = None,
    checkpoint: Path | None = None,
) -> Measurement:
    """Train, pack and score a program with one seed, and record the measurement.

    Args:
        run: The run that the program belongs to.
        entry: The program.
        tier: The tier to measure at.
        seed: The training seed.
        fresh_for: The trial that asked for a fresh seed; None for the entry's own search.
        stage: The stage to announce and time; "measure" or "confirm" by default.
        stored_as: Returns the tier to record the measurement under; by default `tier`.
        full_audit: Audit the losses of all tokens.
        count: Which of the stage's seeds this is, such as `2 of 3`.
        data_seed: The data seed; by default that of the other side of the pair (`data_seed_for`).
        checkpoint: Quantize this checkpoint instead of training.

    Raises:
        Refused: The program failed or broke a rule. The message names no seed.
    """
    requested_by = entry.number if fresh_for is None else fresh_for
    work = run.work_folder()
    detail = f", seed {count}, about {tier.expected_minutes:g} min" if count else ""
    with run.stage(requested_by, entry.title, stage or ("measure" if fresh_for is None else "confirm"), detail):
        row = run.ledger.row(entry.number)
        reference = reference_losses(run, row, tier, seed)
        if data_seed is None:
            data_seed = data_seed_for(run, entry, tier, seed, fresh_for)
        paced, corpus, budget = tier.with_steps(row.steps), run.corpus, entry.budget
        sources = (reference, data_seed, checkpoint)
        job = Job(entry.program, paced, corpus, seed, budget, work, run.level, full_audit, *sources)
        try:
            measured = run.runner.measure(job)
            tier_name = stored_as(measured) if stored_as else tier.name
            run.ledger.add_measurement(entry.number, tier_name, tier.split, measured, fresh_for, work.name)
        except Refused as refusal:  # it may quote the log of a program that knows its seed
            raise refusal.with_message(without_long_numbers(str(refusal))) from refusal
        finally:
            if work.exists():
                run.trial_folder(requested_by).mkdir(parents=True, exist_ok=True)
                work.rename(run.trial_folder(requested_by) / work.name)
    return measured


def data_seed_for(run: Run, entry: Entry, tier: Tier, seed: int, fresh_for: int | None) -> int:
    """Return the data seed of a measurement: that of the other side of the pair, that of its batch, or a new one.

    A batch shares its data seed, so that two of its measurements differ by nothing but the training seed
    (runner/seeds.py, require_seeds_matter); the next batch has other data. A record runs on the challenge's data in
    their original order.
    """
    if tier.split == "validation":
        return ORIGINAL_ORDER
    data_seed = run.ledger.data_seed(entry.number, tier.name, seed, fresh_for)
    return new_seeds(1)[0] if data_seed is None else data_seed


def reference_losses(run: Run, row: Row, tier: Tier, seed: int) -> Path | None:
    """Return the losses of a trial's incumbent at this tier: of the same seed, else its newest, else an ancestor's."""
    parent = run.ledger.with_commit(row.parent)
    while parent:
        paths = {stored.measured.seed: path for stored, path in _losses(run, parent.number, tier)}
        if paths:
            return paths.get(seed, list(paths.values())[-1])
        grandparent = run.ledger.with_commit(parent.parent)
        parent = grandparent if grandparent and grandparent.number < parent.number else None
    return None


def loss_files(run: Run, number: int, tier: Tier) -> list[list[Path]]:
    """Return the loss files of a trial's measurements at a tier that still exist, by batch, the newest batch last."""
    batches: dict[int, list[Path]] = {}
    for row, path in _losses(run, number, tier):
        batches.setdefault(row.measured.data_seed, []).append(path)
    return list(batches.values())


def _losses(run: Run, number: int, tier: Tier) -> list[tuple[MeasurementRow, Path]]:
    rows = [row for row in run.ledger.measurement_rows(number) if row.tier == tier.name]
    paths = [(row, run.measurement_folder(number, row) / LOSSES) for row in rows]
    return [(row, path) for row, path in paths if path.exists()]


def program_path(run: Run, row: Row) -> Path:
    """Return the path of a trial's bundle; build it again from the trial's commit if it is gone."""
    program = run.trial_folder(row.number) / bundle.NAME
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        partial = program.with_suffix(".partial")
        partial.write_bytes(bundle.build(run.workspace.read(str(row.commit_id))))
        partial.replace(program)
    return program

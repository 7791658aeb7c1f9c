"""Promotion of a kept trial: it is rebuilt as it ships, measured on fresh seeds and tested against the record to beat.

The measured bundle is the file that the record ships, byte for byte. A second attempt includes the seeds of the first:
none is left out, and the record states how often the results were looked at.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from statistics import fmean

from common.errors import CaddieError, Refused
from common.limits import TRAIN_SECONDS
from common.state import State
from common.text import one_line
from experiments.analysis.pairing import new_seeds
from experiments.ledger.measurement import Measurement
from experiments.ledger.notes import PromotionAttempt
from experiments.ledger.rows import Row
from experiments.promotion.ablation import ablate, harmful_parts, separable_changes
from experiments.promotion.promotion import Promotion, baseline_record, lineage, record_path
from experiments.run.run import Run
from experiments.runner.job import UNLIMITED, Budget
from experiments.runner.seeds import require_seeds_matter
from experiments.tiers import POCKET_TRACK, Tier
from experiments.trial.baseline import cpu_budget, measure_baseline
from experiments.trial.measure import Entry, loss_files, measure, program_path
from preflight import checks
from preflight.candidate import probe
from preflight.records import frontier
from preflight.records.frontier import Record
from preflight.sandbox.cleanup import remove_tree
from preflight.source import bundle, release
from preflight.source.tree import Tree

STOP_SECONDS = 1.0  # for closing the weights after the clock has stopped (rules.md section 2)
FOLDER = "record"  # in the trial's own folder
# Outcomes of a seed that has not seen any held-out text, and may therefore be repeated.
REPEATABLE = (State.TIMEOUT_TRAIN, State.TIMEOUT_PACK, State.TIMEOUT_UNPACK)


@dataclass(frozen=True)
class PromotionRequest:
    """What the person asks for.

    Attributes:
        seeds: Fresh seeds in total; those of earlier attempts count.
        non_record: Accept a trial that is not a record.
        whole: Promote the trial with all its parts, also with one that its ablation found to harm.
        name: The record's name; empty for the titles of what was kept.
    """

    seeds: int
    non_record: bool = False
    whole: bool = False
    name: str = ""


def promote(run: Run, number: int, request: PromotionRequest, say: Callable[[str], None], today: date) -> Promotion:
    """Ablate, build and measure a trial.

    Args:
        run: The run of the trial.
        number: The trial.
        request: What the person asks for.
        say: Shows a progress message.
        today: The date in the folder's name.

    Raises:
        CaddieError: The trial is not a record and `non_record` is false, it was never measured, or a part of it harms.
    """
    seeds, non_record = request.seeds, request.non_record
    profile, row = run.machine, run.ledger.row(number)
    if profile.record is None:
        raise CaddieError(f"profile {run.profile} has no tier `record`; use another profile")
    tier = profile.record.with_steps(row.steps)
    reasons = _disqualifications(run, row, seeds)
    if reasons and not non_record:
        raise CaddieError(
            f"trial {number} is not a record: {'; '.join(reasons)}; --non-record packs it as a non-record submission"
        )
    if not row.commit_id or not row.has_value:
        raise CaddieError(
            f"trial {number} was never measured (its state is {row.state}); `status` lists the trials that were"
        )
    folder = record_path(run.workspace.root, profile.track, row, request.name or row.title, non_record, today)
    limits = cpu_budget(run, measure_baseline(run))
    if len(separable_changes(run.workspace, row)) > 1:
        for ablated in ablate(run, row, limits, {label for label, *_ in run.ledger.ablations(number)}):
            say(f"without {ablated.label}: {ablated.verdict or f'{fmean(ablated.differences):+.4f} bpb'}")
    if not request.whole and (harm := harmful_parts(run, row, limits)):
        raise CaddieError(f"trial {number} is not promoted: {harm}")
    tree = run.workspace.read(row.commit_id)
    program = _build(run, row, tree, tier)
    if number != measure_baseline(run).number:
        _baseline_measured(run, tier, 1)  # the losses that the gain is claimed over
    measured = _measured(run, Entry(number, row.title, program, _scaled(run, limits, tier)), tier, seeds)
    looks = _look(run, row, len(measured))
    slow = [measurement for measurement in measured if measurement.train_wall_seconds > TRAIN_SECONDS + STOP_SECONDS]
    if slow:
        reasons.append(f"training took {slow[0].train_wall_seconds:.1f} s, expected {TRAIN_SECONDS:.0f}")
    reference = _reference(run, profile.track, profile.record, len(measured))
    verdicts = frontier.verdicts([measurement.val_bpb for measurement in measured], reference)
    if verdicts[0].missing:
        reasons.append(f"{verdicts[0].summary()} (and {verdicts[1].summary()})")
    if reasons and not non_record:
        problem = f"trial {number} is not a record: {'; '.join(reasons)}"
        raise CaddieError(f"{problem}. More seeds: --seeds {seeds + 2}; or --non-record")
    if non_record:
        reasons = reasons or ["packed as a non-record submission on request"]
    chain = lineage(run.ledger, row)
    return Promotion(
        row, tree, program, tier, folder, measured, looks, reference, verdicts, chain, reasons, request.name
    )


def _disqualifications(run: Run, row: Row, seeds: int) -> list[str]:
    """Return why the trial cannot be a record, as far as it is known before anything is measured."""
    reasons = []
    if row.state is not State.KEPT:
        reasons.append(f"its verdict is {row.state}, expected kept: fresh seeds must have confirmed it")
    if run.level == "none":
        reasons.append("trials are not isolated from this machine (sandbox level none)")
    if row.trials_can_read_text:
        reasons.append("trials could read the text that they are scored on")
    if seeds < 2:
        reasons.append(f"{seeds} seed has no spread, expected at least 2")
    return reasons


def _build(run: Run, row: Row, tree: Tree, tier: Tier) -> Path:
    """Build the record's bundle and pass it through preflight; raises Refused."""
    folder = run.trial_folder(row.number) / FOLDER
    program, attempt = folder / bundle.NAME, run.ledger.promotion_attempt(row.number)
    shipped = release.build(tree, tier.target.defaults)
    sha256 = hashlib.sha256(shipped).hexdigest()
    if not program.exists() or program.read_bytes() != shipped or attempt.passed_sha256 != sha256:
        remove_tree(folder)
        with run.stage(row.number, row.title, "promote"):
            report = checks.run(tree, None, tier.target, run.corpus, folder, run.level, lambda _: shipped)
        if not report.passed:
            raise report.findings[0].refusal()
        run.ledger.set_promotion_attempt(replace(attempt, passed_sha256=sha256))
    return program


def _measured(run: Run, entry: Entry, tier: Tier, seeds: int) -> list[Measurement]:
    """Measure at least so many fresh seeds of exactly this file on this machine, those of an earlier attempt first.

    A seed that the program failed on is not skipped by a later attempt. One that took too long before it saw any
    held-out text, which may be the machine's fault, is repeated with the same seed. A scorer is not repeated: it has
    seen the text.
    """
    attempt = run.ledger.promotion_attempt(entry.number)
    environment = f"{hashlib.sha256(entry.program.read_bytes()).hexdigest()} {probe.hardware()} {probe.torch_version()}"
    rows = run.ledger.measurement_rows(entry.number)
    if attempt.environment != environment:
        attempt = replace(_without_failure(attempt), environment=environment, first_measurement=len(rows))
        run.ledger.set_promotion_attempt(attempt)
    rows = rows[attempt.first_measurement :]
    measured = [row.measured for row in rows if row.tier == tier.name]
    if attempt.failed_seed is not None and attempt.failed_state not in REPEATABLE:
        problem = f"trial {entry.number} is not a record: {attempt.failure}"
        raise CaddieError(f"{problem}; a record runs on every seed it is given")
    again = [] if attempt.failed_seed is None else [attempt.failed_seed]
    for seed in again + new_seeds(seeds - len(measured) - len(again)):
        try:
            measured.append(measure(run, entry, tier, seed, stage="promote"))
        except Refused as refusal:
            failure = one_line(f"seed {seed} ended as {refusal.verdict}: {refusal}", 300)
            state = str(refusal.verdict)
            run.ledger.set_promotion_attempt(replace(attempt, failed_seed=seed, failed_state=state, failure=failure))
            problem = f"trial {entry.number} is not a record: {failure}"
            raise CaddieError(f"{problem}; a record runs on every seed it is given") from refusal
        attempt = _without_failure(attempt)
        run.ledger.set_promotion_attempt(attempt)
    require_seeds_matter(measured, loss_files(run, entry.number, tier))
    return measured


def _without_failure(attempt: PromotionAttempt) -> PromotionAttempt:
    return replace(attempt, failed_seed=None, failed_state="", failure="")


def _look(run: Run, row: Row, count: int) -> int:
    """Count how many different numbers of seeds were tested: testing again after a look makes p-values too small."""
    attempt = run.ledger.promotion_attempt(row.number)
    counts = {*attempt.looks.split(), str(count)}
    run.ledger.set_promotion_attempt(replace(attempt, looks=" ".join(sorted(counts, key=int))))
    return len(counts)


def _scaled(run: Run, limits: Budget, tier: Tier) -> Budget:
    """Scale the CPU seconds of scoring to the text of another split."""
    tokens = run.corpus.manifest.tokens
    longer = max(1.0, tokens[tier.split] / tokens[run.tier.split])
    return replace(limits, score_cpu_seconds=limits.score_cpu_seconds * longer)


def _reference(run: Run, track: str, tier: Tier, seeds: int) -> Record:
    """Return the record to beat; on the pocket track, where none exists, the run's baseline on as many seeds."""
    if track != POCKET_TRACK:
        return frontier.read(run.workspace.root / "records" / "frontier.json", track)
    start = measure_baseline(run)
    return baseline_record(run.name, start, run.corpus.manifest.variant, _baseline_measured(run, tier, seeds))


def _baseline_measured(run: Run, tier: Tier, seeds: int) -> list[Measurement]:
    """Measure the run's own baseline on at least so many seeds, those of earlier promotions first."""
    start = measure_baseline(run)
    search_audit = replace(tier, audit_positions=run.tier.audit_positions)
    entry = Entry(start.number, "the baseline, to be beaten", program_path(run, start), UNLIMITED)
    measured = [row.measured for row in run.ledger.measurement_rows(start.number) if row.tier == tier.name]
    return measured + [
        measure(run, entry, search_audit, seed, stage="promote") for seed in new_seeds(seeds - len(measured))
    ]

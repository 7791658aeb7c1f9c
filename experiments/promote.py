"""From a kept trial to numbers that hold: rebuilt as it ships, on seeds nobody chose, against the record to beat.

The bundle that is measured here is the file that the record ships, byte for byte. A second try takes the seeds of the
first along: none is left out, and the record says how often they were looked at.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from statistics import fmean

from data.errors import CaddieError, Refused
from data.state import State
from experiments.ablation import ablate, parts
from experiments.baseline import baseline, budget
from experiments.bench import Bench
from experiments.job import UNLIMITED, Budget, Measured
from experiments.ledger import Ledger, Row
from experiments.luck import require_seeds_matter
from experiments.measurement import Entry, losses_of, measure, program_of
from experiments.replicates import new_seeds
from experiments.tiers import NON_RECORD_TRACK, POCKET_TRACK, PROFILES, Tier
from preflight import bundle, checks, frontier, machine, shipped
from preflight.frontier import Record, Seed, Verdict
from preflight.limits import TRAIN_SECONDS
from preflight.sandbox.cleanup import discard
from preflight.text import one_line
from preflight.tree import Tree

STOP_SECONDS = 1.0  # that closing the weights may take after the clock has stopped (rules.md section 2)
FOLDER = "record"  # below the trial's own
UNSEEN = (
    State.TIMEOUT_TRAIN,
    State.TIMEOUT_PACK,
    State.TIMEOUT_UNPACK,
)  # ends of a seed that has seen no held-out text


@dataclass(frozen=True)
class Promotion:
    """A trial measured as a record, and what that proves."""

    row: Row
    tree: Tree
    program: Path
    tier: Tier
    folder: str  # records/<track>/<date>_<slug>, free when this began
    measured: list[Measured]
    looks: int  # times that somebody has seen these numbers and could have gone on
    reference: Record
    verdicts: list[Verdict]
    lineage: list[Row]  # the baseline first, then every kept trial up to this one
    reasons: list[str] = field(default_factory=list)  # why it is no record; empty: it is one

    @property
    def track(self) -> str:
        return self.folder.split("/")[1]

    @property
    def title(self) -> str:
        """What was kept on the way, in a line."""
        return " + ".join(row.title for row in self.lineage[1:]) or self.row.title

    @property
    def val_bpb(self) -> float:
        return fmean(one.val_bpb for one in self.measured)

    @property
    def bytes_total(self) -> int:
        return max(one.artifact_bytes for one in self.measured)


def promote(
    bench: Bench, number: int, seeds: int, non_record: bool, say: Callable[[str], None], today: date
) -> Promotion:
    """Ablate, build and measure a trial; raises CaddieError where it is no record and was not asked for as none."""
    profile, row = PROFILES[bench.profile], bench.ledger.row(number)
    if profile.record is None:
        raise CaddieError(f"profile {bench.profile} has no tier `record`; run on another")
    tier = profile.record.with_steps(row.steps)
    reasons = _unfit(bench, row, seeds)
    if reasons and not non_record:
        raise CaddieError(f"trial {number} is no record: {'; '.join(reasons)}; --non-record packs it as what it is")
    if not row.commit_id or not row.valued:
        raise CaddieError(f"trial {number} was never measured (its state is {row.state}); `status` lists what was")
    folder = place(bench.workspace.root, profile.track, row, non_record, today)
    limits = budget(bench, baseline(bench))
    if not bench.ledger.ablations(number) and len(parts(bench.workspace, row)) > 1:
        for one in ablate(bench, row, limits):
            say(f"without {one.label}: {one.verdict or f'{fmean(one.differences):+.4f} bpb'}")
    tree = bench.workspace.read(row.commit_id)
    program = _build(bench, row, tree, tier)
    if number != baseline(bench).number:
        _baseline_measured(bench, tier, 1)  # the losses that the winner's gain is claimed over
    measured = _measured(bench, Entry(number, row.title, program, _scaled(bench, limits, tier)), tier, seeds)
    looks = _look(bench, row, len(measured))
    if slow := [one for one in measured if one.train_wall_seconds > TRAIN_SECONDS + STOP_SECONDS]:
        reasons.append(f"training took {slow[0].train_wall_seconds:.1f} s, expected {TRAIN_SECONDS:.0f}")
    reference = _reference(bench, profile.track, profile.record, len(measured))
    verdicts = frontier.verdicts([one.val_bpb for one in measured], reference)
    if verdicts[0].missing:
        reasons.append(f"{verdicts[0].told()} (and {verdicts[1].told()})")
    if reasons and not non_record:
        told = "; ".join(reasons)
        raise CaddieError(f"trial {number} is no record: {told}. More seeds: --seeds {seeds + 2}; or --non-record")
    if non_record:
        reasons = reasons or ["asked for as no record"]
    chain = lineage(bench.ledger, row)
    return Promotion(row, tree, program, tier, folder, measured, looks, reference, verdicts, chain, reasons)


def place(root: Path, track: str, row: Row, non_record: bool, today: date) -> str:
    """records/<track>/<date>_<the last change's title>_<trial>; raises CaddieError where it is taken."""
    if non_record:
        track = f"{POCKET_TRACK}_non_record" if track == POCKET_TRACK else NON_RECORD_TRACK
    words = "_".join(re.findall(r"[A-Za-z0-9]+", row.title))[:60].strip("_") or "unnamed"
    name = f"records/{track}/{today}_{words}_{row.number:04d}"
    if (root / name).exists():
        raise CaddieError(f"{name} is there already; move it away to promote trial {row.number} again")
    return name


def lineage(ledger: Ledger, row: Row) -> list[Row]:
    """A trial and the incumbents before it, oldest first."""
    found = [row]
    while (parent := ledger.with_commit(found[0].parent)) and parent.number != found[0].number:
        found.insert(0, parent)
    return found


def _unfit(bench: Bench, row: Row, seeds: int) -> list[str]:
    """What can be said before anything is measured."""
    found = []
    if row.state is not State.KEPT:
        found.append(f"its verdict is {row.state}, expected kept: fresh seeds must have borne it out")
    if bench.level == "none":
        found.append("nothing stands between a trial and this machine (sandbox level none)")
    if row.trials_can_read_text:
        found.append("trials could read the text that they are scored on")
    if seeds < 2:
        found.append(f"{seeds} seed has no spread, expected at least 2")
    return found


def _build(bench: Bench, row: Row, tree: Tree, tier: Tier) -> Path:
    """The record's bundle, through preflight as such; raises Refused."""
    folder = bench.trial_folder(row.number) / FOLDER
    program, fact = folder / bundle.NAME, f"record_{row.number}_passed"
    made = shipped.build(tree, tier.target)
    sha256 = hashlib.sha256(made).hexdigest()
    if not program.exists() or program.read_bytes() != made or bench.ledger.fact(fact) != sha256:
        discard(folder)
        with bench.stage(row.number, row.title, "promote"):
            report = checks.run(tree, None, tier.target, bench.corpus, folder, bench.level, lambda _: made)
        if not report.passed:
            raise report.findings[0].refusal()
        bench.ledger.set_fact(fact, sha256)
    return program


def _measured(bench: Bench, entry: Entry, tier: Tier, seeds: int) -> list[Measured]:
    """At least so many fresh seeds of exactly this file in this place, those of an earlier try first.

    A seed that the program failed on is no seed to forget: no later try passes it over. What took too long before it
    saw any text, which may be the machine's fault, is tried again with that same seed; a scorer is not, as none may
    follow one that has seen the text.
    """
    fact = f"record_{entry.number}"
    where = f"{hashlib.sha256(entry.program.read_bytes()).hexdigest()} {machine.hardware()} {machine.torch_version()}"
    if bench.ledger.fact(fact) != where:
        bench.ledger.set_fact(fact, where)
        bench.ledger.set_fact(f"{fact}_from", str(len(bench.ledger.taken(entry.number))))
        bench.ledger.set_fact(f"{fact}_failed", "")
    first = int(bench.ledger.fact(f"{fact}_from") or 0)
    measured = [one.measured for one in bench.ledger.taken(entry.number)[first:] if one.tier == tier.name]
    failed = bench.ledger.fact(f"{fact}_failed") or ""
    if failed and not any(f"ended as {state}" in failed.split(": ")[0] for state in UNSEEN):
        raise CaddieError(f"trial {entry.number} is no record: {failed}; a record runs on every seed it is given")
    again = [int(failed.split()[1])] if failed else []
    for seed in again + new_seeds(seeds - len(measured) - len(again)):
        try:
            measured.append(measure(bench, entry, tier, seed, stage="promote"))
        except Refused as refusal:
            failed = one_line(f"seed {seed} ended as {refusal.verdict}: {refusal}", 300)
            bench.ledger.set_fact(f"{fact}_failed", failed)
            told = f"trial {entry.number} is no record: {failed}; a record runs on every seed it is given"
            raise CaddieError(told) from refusal
        bench.ledger.set_fact(f"{fact}_failed", "")
    require_seeds_matter(measured, losses_of(bench, entry.number, tier))
    return measured


def _look(bench: Bench, row: Row, count: int) -> int:
    """How many different numbers of seeds were looked at: testing again after a look makes a p-value too small."""
    fact = f"record_{row.number}_looks"
    known = {*(bench.ledger.fact(fact) or "").split(), str(count)}
    bench.ledger.set_fact(fact, " ".join(sorted(known, key=int)))
    return len(known)


def _scaled(bench: Bench, limits: Budget, tier: Tier) -> Budget:
    """CPU seconds for another split: scoring takes as long as its text."""
    tokens = bench.corpus.manifest.tokens
    longer = max(1.0, tokens[tier.split] / tokens[bench.tier.split])
    return replace(limits, score_cpu_seconds=limits.score_cpu_seconds * longer)


def _reference(bench: Bench, track: str, tier: Tier, seeds: int) -> Record:
    """The record to beat; for pocket's text none is published: the run's own baseline, measured on as many seeds."""
    if track != POCKET_TRACK:
        return frontier.read(bench.workspace.root / "records" / "frontier.json", track)
    start = baseline(bench)
    return Record(
        title=f"the baseline of run {bench.run}",
        source=f"trial {start.number:04d}, commit {start.commit_id}",
        date=start.started_at[:10],
        tokenizer=bench.corpus.manifest.variant,
        seeds=[
            Seed(seed=one.seed, val_nats=one.val_nats, val_bpb=one.val_bpb, artifact_bytes=one.artifact_bytes)
            for one in _baseline_measured(bench, tier, seeds)
        ],
    )


def _baseline_measured(bench: Bench, tier: Tier, seeds: int) -> list[Measured]:
    """The run's own baseline on at least so many seeds, those of earlier promotions first."""
    start = baseline(bench)
    plain = replace(tier, proof_places=bench.tier.proof_places)
    entry = Entry(start.number, "the baseline, to be beaten", program_of(bench, start), UNLIMITED)
    taken = [one.measured for one in bench.ledger.taken(start.number) if one.tier == tier.name]
    return taken + [measure(bench, entry, plain, seed, stage="promote") for seed in new_seeds(seeds - len(taken))]

"""From a kept trial to numbers that hold: rebuilt as it ships, on seeds nobody chose, against the record to beat.

The bundle that is measured here is the file that the record ships, byte for byte. A second try takes the seeds of the
first along: none is left out, and the record says how often they were looked at.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from data.errors import CaddieError, Refused
from experiments.ablation import ablate, parts
from experiments.bench import Bench
from experiments.comparison import Entry, measure, program_of, require_seeds_matter
from experiments.job import UNLIMITED, Budget, Measured
from experiments.ledger import Ledger, Row
from experiments.loop import baseline, budget
from experiments.replicates import new_seeds
from experiments.state import State
from experiments.tiers import NON_RECORD_TRACK, POCKET_TRACK, PROFILES, Tier
from preflight import bundle, checks, frontier, shipped
from preflight.frontier import Record, Seed, Verdict
from preflight.leftovers import discard
from preflight.limits import TRAIN_SECONDS
from preflight.tree import Tree

STOP_SECONDS = 1.0  # that closing the weights may take after the clock has stopped (rules.md section 2)
FOLDER = "record"  # below the trial's own


@dataclass(frozen=True)
class Promotion:
    """A trial measured as a record, and what that proves."""

    row: Row
    tree: Tree
    program: Path
    tier: Tier
    track: str
    measured: list[Measured]
    looks: int  # times that somebody has seen these numbers and could have gone on
    reference: Record
    verdicts: list[Verdict]
    lineage: list[Row]  # the baseline first, then every kept trial up to this one
    reasons: list[str] = field(default_factory=list)  # why it is no record; empty: it is one

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


def promote(bench: Bench, number: int, seeds: int, non_record: bool, say: Callable[[str], None]) -> Promotion:
    """Ablate, build and measure a trial; raises CaddieError where it is no record and was not asked for as none."""
    profile, row = PROFILES[bench.profile], bench.ledger.row(number)
    tier = profile.record
    if tier is None:
        raise CaddieError(f"profile {bench.profile} has no tier `record`; run on another")
    reasons = _unfit(bench, row, seeds)
    if reasons and not non_record:
        raise CaddieError(f"trial {number} is no record: {'; '.join(reasons)}; --non-record packs it as what it is")
    if not row.commit_id or row.val_bpb is None:
        raise CaddieError(f"trial {number} was never measured (its state is {row.state}); `status` lists what was")
    limits = budget(bench, baseline(bench))
    if not bench.ledger.ablations(number) and len(parts(bench.workspace, row)) > 1:
        for one in ablate(bench, row, limits):
            say(f"without {one.label}: {one.verdict or f'{fmean(one.differences):+.4f} bpb'}")
    tree = bench.workspace.read(row.commit_id)
    program = _build(bench, row, tree, tier)
    measured = _measured(bench, Entry(number, row.title, program, _scaled(bench, limits, tier)), tier, seeds)
    looks = _look(bench, row, len(measured))
    if slow := [one for one in measured if one.train_wall_seconds > TRAIN_SECONDS + STOP_SECONDS]:
        reasons.append(f"training took {slow[0].train_wall_seconds:.1f} s, expected {TRAIN_SECONDS:.0f}")
    reference = _reference(bench, profile.track, tier, len(measured))
    verdicts = frontier.verdicts([one.val_bpb for one in measured], reference)
    if verdicts[0].missing:
        reasons.append(f"{verdicts[0].told()} (and {verdicts[1].told()})")
    if reasons and not non_record:
        told = "; ".join(reasons)
        raise CaddieError(f"trial {number} is no record: {told}. More seeds: --seeds {seeds + 2}; or --non-record")
    track = profile.track
    if non_record:
        track = f"{POCKET_TRACK}_non_record" if track == POCKET_TRACK else NON_RECORD_TRACK
        reasons = reasons or ["asked for as no record"]
    chain = lineage(bench.ledger, row)
    return Promotion(row, tree, program, tier, track, measured, looks, reference, verdicts, chain, reasons)


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
    program = folder / bundle.NAME
    made = shipped.build(tree, tier.target)
    if not program.exists() or program.read_bytes() != made:
        discard(folder)
        with bench.stage(row.number, row.title, "preflight"):
            report = checks.run(tree, None, tier.target, bench.corpus, folder, bench.level, lambda _: made)
        if not report.passed:
            discard(folder)
            raise report.findings[0].refusal()
    return program


def _measured(bench: Bench, entry: Entry, tier: Tier, seeds: int) -> list[Measured]:
    """At least so many fresh seeds of exactly this file, those of an earlier try first."""
    sha256 = hashlib.sha256(entry.program.read_bytes()).hexdigest()
    fact = f"record_{entry.number}"
    if bench.ledger.fact(fact) != sha256:
        bench.ledger.set_fact(fact, sha256)
        bench.ledger.set_fact(f"{fact}_from", str(len(bench.ledger.taken(entry.number))))
    first = int(bench.ledger.fact(f"{fact}_from") or 0)
    measured = [one.measured for one in bench.ledger.taken(entry.number)[first:] if one.tier == tier.name]
    for seed in new_seeds(seeds - len(measured)):
        try:
            measured.append(measure(bench, entry, tier, seed))
        except Refused as refusal:
            told = f"seed {seed} ended as {refusal.verdict}: {refusal}"
            raise CaddieError(f"trial {entry.number} is no record: {told}") from refusal
    require_seeds_matter(measured)
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
    """The record to beat; where none is published for a text, the run's own baseline, measured on as many seeds."""
    path = bench.workspace.root / "records" / "frontier.json"
    if path.exists() and (known := frontier.tracks(path).get(track)):
        return known
    start = baseline(bench)
    plain = replace(tier, proof_places=bench.tier.proof_places)
    entry = Entry(start.number, "the baseline, to be beaten", program_of(bench, start), UNLIMITED)
    taken = [one.measured for one in bench.ledger.taken(start.number) if one.tier == tier.name]
    for seed in new_seeds(seeds - len(taken)):
        taken.append(measure(bench, entry, plain, seed))
    return Record(
        title=f"the baseline of run {bench.run}",
        source=f"trial {start.number:04d}, commit {start.commit_id}",
        date=start.started_at[:10],
        tokenizer=bench.corpus.manifest.variant,
        seeds=[
            Seed(seed=one.seed, val_nats=one.val_nats, val_bpb=one.val_bpb, artifact_bytes=one.artifact_bytes)
            for one in taken
        ],
    )

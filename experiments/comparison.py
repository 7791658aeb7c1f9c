"""Candidate against incumbent: measures seed by seed what the rule asks for, until it says how the trial ends."""

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from data.errors import MachineError, Refused
from experiments.bench import Bench
from experiments.job import UNLIMITED, Budget, Job, Measured
from experiments.judge import ENDS, Evidence, Noise, Rule, Step
from experiments.ledger import Row
from experiments.replicates import generation, lost_to_simplicity, new_seeds, noise_floor, tidier
from experiments.state import State
from experiments.tiers import Tier
from preflight import bundle
from preflight.text import one_line, without_long_numbers

FRESH_TRIES = 3


@dataclass(frozen=True)
class Judgement:
    """How a trial ends, its difference to the incumbent, and the measurements that are its value from now on."""

    state: State
    delta_bpb: float | None  # of what is believed
    believed: list[Measured]
    reason: str


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
) -> Measured:
    """Train, pack and score a program with one seed, and note it; the seconds count for the trial that asked."""
    asked_by = entry.number if fresh_for is None else fresh_for
    folder = bench.measurement_folder(tier, entry.number, seed, fresh_for)
    with bench.stage(asked_by, entry.title, stage or ("measure" if fresh_for is None else "confirm")):
        job = Job(entry.program, tier, bench.corpus, seed, entry.budget, folder, bench.level)
        try:
            measured = bench.runner.measure(job)
        except Refused as refusal:  # it may quote the log of a program that knows its seed
            raise Refused(refusal.verdict, without_long_numbers(str(refusal))) from refusal
    bench.ledger.add_measurement(entry.number, tier.name, tier.split, measured, fresh_for)
    return measured


def compare(bench: Bench, entry: Entry, incumbent: Row, tier: Tier) -> Judgement:
    """One tier of a trial; raises Refused where the candidate fails, MachineError where the incumbent does."""
    rule, noise = tier.rule, noise_floor(bench.ledger, tier)
    row = bench.ledger.row(entry.number)
    net_lines, tidy = row.net_code_lines or 0, tidier(row, incumbent)
    handicap = rule.handicap(net_lines, noise, lost_to_simplicity(bench.ledger, tier, noise))
    theirs = generation(bench.ledger, incumbent, tier)
    seeds = rotated(list(theirs), entry.number)[: rule.seeds]
    strict = replace(tier, proof_places=tier.confirm_places)
    search: list[Measured] = []
    fresh: list[Measured] = []

    def evidence() -> Evidence:
        return Evidence(*([one.val_bpb - theirs[one.seed] for one in measured] for measured in (search, fresh)))

    while (step := rule.step(evidence(), noise, handicap, len(search) < len(seeds), tidy)) not in ENDS:
        if step is Step.SEARCH:
            seed = seeds[len(search)]
            search.append(measure(bench, entry, tier, seed))
        else:
            again = remeasured(bench, incumbent, tier, entry.number)
            theirs[again.seed] = again.val_bpb
            fresh.append(measure(bench, entry, strict, again.seed, fresh_for=entry.number))
        require_seeds_matter([*search, *fresh])
    reason = told(evidence(), noise, rule, net_lines, handicap, tidy)
    return Judgement(State(step.value), fmean(evidence().believed), fresh or search, reason)


def refresh(bench: Bench, incumbent: Row, tier: Tier, count: int) -> None:
    """Fresh seeds for a kept incumbent at a tier that confirms nothing: its first number there has won a contest."""
    if incumbent.state is State.KEPT:
        taken = bench.ledger.taken(incumbent.number)
        for _ in range(count - sum(one.tier == tier.name and one.fresh_for == incumbent.number for one in taken)):
            remeasured(bench, incumbent, tier, incumbent.number)


def remeasured(bench: Bench, incumbent: Row, tier: Tier, asked_by: int) -> Measured:
    """The incumbent on a fresh seed, whatever it takes: it is the yardstick. A seed it fails on is passed over."""
    program = program_of(bench, incumbent)
    entry = Entry(incumbent.number, f"the incumbent, {one_line(incumbent.title)}", program, UNLIMITED)
    for seed in new_seeds(FRESH_TRIES):
        try:
            return measure(bench, entry, tier, seed, fresh_for=asked_by)
        except Refused as refusal:
            last = refusal
    raise MachineError(
        f"the incumbent, trial {incumbent.number}, failed on {FRESH_TRIES} fresh seeds: {last}"
    ) from last


def program_of(bench: Bench, row: Row) -> Path:
    """A trial's bundle, built again from its commit if it is gone."""
    program = bench.trial_folder(row.number) / bundle.NAME
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        partial = program.with_suffix(".partial")
        partial.write_bytes(bundle.build(bench.workspace.read(str(row.commit_id))))
        partial.replace(program)
    return program


def rotated(seeds: list[int], number: int) -> list[int]:
    """Another seed first for each trial: an unlucky one of the incumbent's shall not wave everything through."""
    start = number % len(seeds)
    return seeds[start:] + seeds[:start]


def require_seeds_matter(measured: list[Measured]) -> None:
    """Two seeds, two artifacts: else its luck could be chosen once for all, and its spread would say nothing."""
    if len({one.artifact_sha256 for one in measured}) < len(measured):
        raise Refused("seed_ignored", f"got the same artifact twice in {len(measured)} seeds, expected one for each")


def told(evidence: Evidence, noise: Noise, rule: Rule, net_lines: int, handicap: float, tidy: bool) -> str:
    """The judge's reason in a line: differences, how likely they were by chance, what they were held against."""
    if not any(looks := [*evidence.search, *evidence.fresh]):
        stock = (
            "; a knob went with them, and an idea that is switched off is stock" if net_lines < 0 and not tidy else ""
        )
        return f"no loss changed on {len(looks)} seeds, {net_lines:+d} lines of code{stock}"
    parts = []
    for name, values, needed in (
        ("search", evidence.search, rule.keep_p),
        ("fresh seeds", evidence.fresh, rule.confirm_p),
    ):
        if values:
            chance = noise.p_value(fmean(values) + handicap, len(values))
            parts.append(f"{name} {fmean(values):+.4f} bpb on {len(values)} (p {chance:.3f}, needs {needed:g})")
    if handicap > 0:
        parts.append(f"{net_lines} more lines of code cost {handicap:.4f}")
    if handicap < 0:
        parts.append(f"{-net_lines} fewer lines of code: need only be no more than {-handicap:.4f} worse")
    return "; ".join([*parts, f"noise {noise.difference_sd:.4f} a pair"])

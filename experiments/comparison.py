"""Candidate against incumbent: measures seed by seed what the rule asks for, until it says how the trial ends."""

from dataclasses import dataclass, replace
from statistics import fmean

from data.errors import Refused
from data.state import State
from experiments.bench import Bench
from experiments.incumbent import remeasured
from experiments.job import UNLIMITED, Measured
from experiments.judge import ENDS, Evidence, Noise, Rule, Step
from experiments.ledger import Row
from experiments.luck import require_seeds_matter
from experiments.measurement import Entry, losses_of, measure
from experiments.replicates import generation, lost_to_simplicity, noise_floor, tidier
from experiments.tiers import PROFILES, Tier
from preflight.sandbox import wipe_shared_state

REPEAT = "repeat"  # where a search seed that was run once more is filed
SAME_SEED_SDS = 4.0


@dataclass(frozen=True)
class Judgement:
    """How a trial ends, its difference to the incumbent, and the measurements that are its value from now on."""

    state: State
    delta_bpb: float | None  # of what is believed
    believed: list[Measured]
    reason: str


def compare(bench: Bench, entry: Entry, incumbent: Row, tier: Tier) -> Judgement:
    """One tier of a trial; raises Refused for the candidate, IncumbentFailed or MachineError for the incumbent."""
    rule, noise = tier.rule, noise_floor(bench.ledger, tier)
    row = bench.ledger.row(entry.number)
    net_lines, tidy = row.net_code_lines or 0, tidier(row, incumbent)
    handicap = rule.handicap(net_lines, noise, lost_to_simplicity(bench.ledger, tier, noise))
    theirs = generation(bench.ledger, incumbent, tier)
    seeds = rotated(list(theirs), entry.number)[: rule.seeds]
    search: list[Measured] = []
    fresh: list[Measured] = []

    def evidence() -> Evidence:
        return Evidence(*([one.val_bpb - theirs[one.seed] for one in measured] for measured in (search, fresh)))

    try:
        while (step := rule.step(evidence(), noise, handicap, len(search) < len(seeds), tidy)) not in ENDS:
            if step is Step.SEARCH:
                seed = seeds[len(search)]
                search.append(measure(bench, entry, tier, seed, whole=not rule.fresh and tier is bench.tier))
            else:
                if not fresh:
                    require_repeatable(bench, entry, search[0], tier, noise)
                again = remeasured(bench, incumbent, tier, entry.number)
                theirs[again.seed] = again.val_bpb
                fresh.append(measure(bench, entry, tier, again.seed, fresh_for=entry.number))
            mine, known = (losses_of(bench, number, tier) for number in (entry.number, incumbent.number))
            require_seeds_matter([*search, *fresh], mine, known)
    except Refused as refusal:
        if (believed := fresh or search) and refusal.verdict.limit:
            refusal = refusal.reworded(f"{refusal}; before: {told(evidence(), noise, rule, net_lines, handicap, tidy)}")
            refusal.val_bpb = fmean(one.val_bpb for one in believed)
            refusal.delta_bpb = fmean(evidence().believed)
            raise refusal from None
        raise
    reason = told(evidence(), noise, rule, net_lines, handicap, tidy)
    return Judgement(State(step.value), fmean(evidence().believed), fresh or search, reason)


def require_repeatable(bench: Bench, entry: Entry, first: Measured, tier: Tier, noise: Noise) -> None:
    """A search seed once more, with all that jobs share wiped: what was read from another job is not there now.

    Raises Refused. On a CPU equal seeds give equal bytes. A GPU adds in any order, and how far that moves a score has
    not been measured: SAME_SEED_SDS of the difference between two seeds, which is more. The run is filed as REPEAT,
    where it is no evidence, and needs no budget: the first one was within it.
    """
    wipe_shared_state()
    unhurried = replace(entry, budget=UNLIMITED)
    again = measure(bench, unhurried, tier, first.seed, stage="confirm", filed_as=lambda _: REPEAT, whole=False)
    moved, same = abs(again.val_bpb - first.val_bpb), again.artifact_sha256 == first.artifact_sha256
    if not same and PROFILES[bench.profile].gpus == 0:
        found = "got another artifact from one seed, expected the same bytes"
    elif not moved <= (limit := tier.smooth_bound_bpb if same else SAME_SEED_SDS * noise.difference_sd):
        found = f"got a score that moved by {moved:.4f} bpb, expected at most {limit:.4f}"
    else:
        return
    raise Refused(State.DISHONEST, f"{found}, with all that jobs share wiped between: it reads what another job left")


def rotated(seeds: list[int], number: int) -> list[int]:
    """Another seed first for each trial: an unlucky one of the incumbent's shall not wave everything through."""
    start = number % len(seeds)
    return seeds[start:] + seeds[:start]


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

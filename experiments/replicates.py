"""Which measurements may be held against each other: the generation's seeds, paired differences, the noise floor.

A generation is the set of seeds on which the incumbent's value is believed: the baseline's replicates at first, then
the seeds of the last re-measurement, which had no part in choosing anything. Everything here is read from the ledger.
"""

import json
from collections.abc import Iterator
from secrets import randbelow

from data.state import State
from experiments.judge import Noise, may_have_lost
from experiments.ledger import Ledger, Row, Taken
from experiments.tiers import Tier

RESETTLED = (State.KEPT, State.REVERTED)  # a re-measurement was finished


def new_seeds(count: int) -> list[int]:
    """Seeds from the system: nothing that was proposed can have been made for them."""
    return [1 + randbelow(2**31 - 2) for _ in range(count)]


def generation(ledger: Ledger, incumbent: Row, tier: Tier, before: int | None = None) -> dict[int, float]:
    """The incumbent's bits per byte by seed, on the seeds that candidates (trial `before`) are compared on."""
    taken = [one for one in ledger.taken(incumbent.number) if one.tier == tier.name]
    batches = {one.fresh_for for one in taken if one.fresh_for is not None}
    finished = [row.number for row in ledger.rows() if row.number in batches and row.state in RESETTLED]
    newest = max((number for number in finished if before is None or number < before), default=None)
    return {one.measured.seed: one.measured.val_bpb for one in taken if one.fresh_for == newest}


def differences(ledger: Ledger, row: Row, tier_name: str, fresh: bool) -> list[float]:
    """Candidate minus parent, in the order they were measured: of the search, or of the re-measurement."""
    return [mine - theirs for _, mine, theirs in pairs(ledger, row, tier_name, fresh)]


def pairs(ledger: Ledger, row: Row, tier_name: str, fresh: bool) -> list[tuple[int, float, float]]:
    """(seed, candidate's, parent's) bits per byte of every seed that both were measured on."""
    parent = ledger.with_commit(row.parent)
    if parent is None or parent.number == row.number:  # the baseline is its own parent
        return []
    theirs = {one.measured.seed: one.measured.val_bpb for one in ledger.taken(parent.number) if one.tier == tier_name}
    mine = [one.measured for one in ledger.taken(row.number) if one.tier == tier_name and chosen(one, row, fresh)]
    return [(one.seed, one.val_bpb, theirs[one.seed]) for one in mine if one.seed in theirs]


def lost_to_simplicity(ledger: Ledger, tier: Tier, noise: Noise, before: int | None = None) -> float:
    """bpb that kept removals of code may have cost so far."""
    rows = [row for row in ledger.rows() if row.state is State.KEPT and (before is None or row.number < before)]
    removals = [row for row in rows if (row.net_code_lines or 0) < 0]
    return sum(may_have_lost(differences(ledger, row, tier.name, fresh=True), noise) for row in removals)


def tidier(row: Row, incumbent: Row) -> bool:
    """Whether lines of code went and no knob with them: an idea that is switched off is stock, not clutter."""
    knobs, theirs = (json.loads(one.knobs or "{}").keys() for one in (row, incumbent))
    return (row.net_code_lines or 0) < 0 and theirs <= knobs


def chosen(one: Taken, row: Row, fresh: bool) -> bool:
    """Whether a row's own measurement belongs to its search or to its re-measurement; later ones belong to others."""
    return one.fresh_for == (row.number if fresh else None)


def noise_floor(ledger: Ledger, tier: Tier) -> Noise:
    """What a tier expects, corrected by every replicate so far."""
    return _with(tier.expected_noise, ledger, tier, ledger.rows())


def noise_by_trial(ledger: Ledger, tier: Tier) -> Iterator[tuple[Row, Noise]]:
    """Every trial with the noise floor as it was when the trial began."""
    noise = tier.expected_noise
    for row in ledger.rows():
        yield row, noise
        noise = _with(noise, ledger, tier, [row])


def _with(noise: Noise, ledger: Ledger, tier: Tier, rows: list[Row]) -> Noise:
    """Only incumbents teach it, on seeds of a finished batch: what merely tried could widen or narrow it at will."""
    for row in rows:
        incumbent = ledger.with_commit(row.parent)
        if row.state is State.BASELINE:
            noise = noise.with_replicates(_batch(ledger, row, tier, None))
        if row.state in RESETTLED and incumbent and incumbent.state in (State.KEPT, State.BASELINE):
            noise = noise.with_replicates(_batch(ledger, incumbent, tier, row.number))
        if row.state is State.KEPT:
            noise = noise.with_replicates(_batch(ledger, row, tier, row.number))
    return noise


def _batch(ledger: Ledger, row: Row, tier: Tier, fresh_for: int | None) -> list[float]:
    taken = [one for one in ledger.taken(row.number) if one.tier == tier.name and one.fresh_for == fresh_for]
    return [one.measured.val_bpb for one in taken]

"""Who may be ended for being behind at half time: only classes a person named, and only while the ledger bears it out.

The rule is wrong for whatever changes how fast a loss falls, so schedule, optimiser and sequence length are never
judged by it. Elsewhere it needs finished trials enough, of which it would have ended none that was kept; and one in
ten of those it would end runs on as a control, so that the evidence goes on growing.
"""

import json
from collections.abc import Iterator

from experiments.bench import Bench
from experiments.curves import Curve, behind, read, smoothed
from experiments.ledger import Row
from experiments.state import State
from experiments.tiers import CONTROL_EVERY, Tier

FINISHED = 20  # trials that must bear the rule out
PLAUSIBLE_NATS = 0.5  # a program writes its own curve, and an incumbent's is held against others
CLASSES = ("architecture", "data", "quantisation", "compression", "evaluation", "simplify")


def reference_curve(bench: Bench, number: int, incumbent: Row, tier: Tier, seed: int) -> Curve:
    """The incumbent's curve that a trial's training is held against; empty = it runs on whatever its curve."""
    row = bench.ledger.row(number)
    if row.kind not in bench.curve_classes or row.kind not in CLASSES or changes_a_length(row, incumbent):
        return ()
    if number % CONTROL_EVERY == 0 or not licensed(bench, tier, row.kind):
        return ()
    return curve(bench, incumbent, tier, seed)


def changes_a_length(row: Row, incumbent: Row) -> bool:
    """Losses over other contexts are not comparable step by step."""
    ours, theirs = (json.loads(one.knobs or "{}") for one in (row, incumbent))
    return any("length" in name and ours.get(name) != theirs.get(name) for name in ours.keys() | theirs.keys())


def licensed(bench: Bench, tier: Tier, kind: str) -> bool:
    """Whether it would have spared every keep among enough finished trials of a class; a kept control takes it away."""
    seen = list(evidence(bench, tier, kind))
    return len(seen) >= FINISHED and not any(kept and stopped for kept, stopped in seen)


def evidence(bench: Bench, tier: Tier, kind: str) -> Iterator[tuple[bool, bool]]:
    """(kept, would have been stopped) of each measured trial of a class that has both curves."""
    for row in bench.ledger.rows():
        incumbent = bench.ledger.with_commit(row.parent)
        first = next((one for one in bench.ledger.taken(row.number) if one.tier == tier.name), None)
        if row.kind == kind and row.state.judged and incumbent and first and tier.steps:
            seed = first.measured.seed
            ours, theirs = curve(bench, row, tier, seed), curve(bench, incumbent, tier, seed)
            if ours and theirs:
                yield row.state is State.KEPT, bool(behind(ours, theirs, tier.steps))


def curve(bench: Bench, row: Row, tier: Tier, seed: int) -> Curve:
    """The loss curve of a trial's program with one seed; none that does not end near the loss that was measured."""
    for one in bench.ledger.taken(row.number):
        if (one.tier, one.measured.seed) == (tier.name, seed):
            points = read(bench.measurement_folder(tier, row.number, seed, one.fresh_for) / "metrics.jsonl")
            ends = smoothed(points)
            return points if ends and abs(ends[-1].loss - one.measured.val_nats) < PLAUSIBLE_NATS else ()
    return ()

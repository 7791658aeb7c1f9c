"""Compare a candidate with the incumbent: measure the seeds that the rule asks for, until it ends the trial."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from common.errors import Refused
from common.state import State
from experiments.analysis.pairing import (
    WEIGHTS,
    is_simplification,
    noise_floor,
    reference_seeds,
    same_weights_noise,
    simplification_cost,
)
from experiments.judge.noise import Noise
from experiments.judge.rule import FINAL_STEPS, Evidence, Rule, Step
from experiments.ledger.measurement import Measurement
from experiments.ledger.rows import Row
from experiments.run.run import Run
from experiments.runner.job import UNLIMITED
from experiments.runner.seeds import require_seeds_matter
from experiments.tiers import Tier
from experiments.trial.incumbent import remeasure
from experiments.trial.measure import Entry, loss_files, measure
from experiments.trial.same_weights import checkpoints_of, weights_tier
from preflight.sandbox.start import wipe_shared_state

REPEAT = "repeat"  # the ledger's tier for a search seed that was run a second time
SAME_SEED_SDS = 4.0


@dataclass(frozen=True)
class Judgment:
    """The final state of a trial, its difference to the incumbent, and the measurements that its value rests on."""

    state: State
    delta_bpb: float | None  # the mean of the reported differences
    reported: list[Measurement]
    reason: str


class TrainsOtherwise(Exception):
    """A change that was to leave training alone gave another artifact or checkpoint after training."""


def compare(
    run: Run, entry: Entry, incumbent: Row, tier: Tier, checkpoints: Mapping[int, Path] | None = None
) -> Judgment:
    """Compare a candidate with the incumbent at one tier.

    Args:
        run: The run that both belong to.
        entry: The candidate.
        incumbent: The row of the trial that the candidate is compared with.
        tier: The tier to measure at.
        checkpoints: The incumbent's by seed, if the change leaves training alone: the search runs on these.

    Raises:
        Refused: The candidate failed or broke a rule. If a limit ended it, the error carries its value so far.
        IncumbentFailed: The incumbent failed on every fresh seed, or fell behind its own numbers.
        MachineError: The incumbent could not be measured.
    """
    if checkpoints and tier.rule.fresh:  # without fresh seeds nothing would be run in full before it is kept
        with suppress(TrainsOtherwise):
            return _compare(run, entry, incumbent, tier, checkpoints)
    return _compare(run, entry, incumbent, tier, {})


def _compare(run: Run, entry: Entry, incumbent: Row, tier: Tier, checkpoints: Mapping[int, Path]) -> Judgment:
    """Follow the rule until it ends the trial; raises TrainsOtherwise if the checkpoints said nothing of it."""
    rule, usual = tier.rule, noise_floor(run.ledger, tier)
    row = run.ledger.row(entry.number)
    net_lines, simplifies = row.net_code_lines or 0, is_simplification(row, incumbent)
    handicap = rule.handicap(net_lines, usual, simplification_cost(run.ledger, tier, usual))
    incumbent_bpb = reference_seeds(run.ledger, incumbent, tier)
    seeds = rotate(list(checkpoints or incumbent_bpb), entry.number)[: rule.seeds]
    search: list[Measurement] = []
    fresh: list[Measurement] = []

    def evidence() -> Evidence:
        return Evidence(*([m.val_bpb - incumbent_bpb[m.seed] for m in measured] for measured in (search, fresh)))

    def noise() -> Noise:
        return same_weights_noise(tier, [*evidence().search, *evidence().fresh]) if checkpoints else usual

    def reason() -> str:
        return explain(evidence(), noise(), rule, net_lines, handicap, simplifies)

    try:
        while True:
            step = rule.step(evidence(), noise(), handicap, len(search) < len(seeds), simplifies)
            if step in FINAL_STEPS:
                break
            if step is Step.SEARCH:
                seed = seeds[len(search)]
                search.append(_search(run, entry, tier, seed, f"{len(search) + 1} of {len(seeds)}", checkpoints))
            else:
                if not fresh and not checkpoints:
                    require_repeatable(run, entry, search[0], tier, usual)
                if not fresh and checkpoints:
                    require_same_artifact(run, entry, search[0], tier)
                count = f"{len(fresh) + 1} of {rule.fresh}"
                reference = remeasure(run, incumbent, tier, entry.number, count=count)
                incumbent_bpb[reference.seed] = reference.val_bpb
                fresh.append(measure(run, entry, tier, reference.seed, fresh_for=entry.number, count=count))
                if checkpoints:
                    require_same_checkpoint(run, entry, incumbent, tier, reference.seed)
            losses, reference_losses = (loss_files(run, number, tier) for number in (entry.number, incumbent.number))
            require_seeds_matter([*search, *fresh], losses, reference_losses)
    except Refused as refusal:
        if (reported := fresh or search) and refusal.verdict.hit_limit:
            refusal = refusal.with_message(f"{refusal}; before: {reason()}")
            refusal.val_bpb = fmean(measurement.val_bpb for measurement in reported)
            refusal.delta_bpb = fmean(evidence().reported)
            raise refusal from None
        raise
    return Judgment(State(step.value), fmean(evidence().reported), fresh or search, reason())


def _search(run: Run, entry: Entry, tier: Tier, seed: int, count: str, checkpoints: Mapping[int, Path]) -> Measurement:
    """Measure a candidate on a seed of the generation: in full, or on the incumbent's checkpoint of that seed."""
    full_audit = not tier.rule.fresh and tier is run.tier
    if not checkpoints:
        return measure(run, entry, tier, seed, full_audit=full_audit, count=count)
    data_seed = run.ledger.data_seed(entry.number, tier.name, seed, None)
    on_weights, checkpoint = weights_tier(tier), checkpoints[seed]
    return measure(
        run, entry, on_weights, seed, None, WEIGHTS, None, full_audit, count, data_seed, checkpoint=checkpoint
    )


def require_same_artifact(run: Run, entry: Entry, first: Measurement, tier: Tier) -> None:
    """Run a candidate in full on a seed whose checkpoint it was measured on; raises TrainsOtherwise.

    The same artifact shows that its training is the incumbent's on this seed.
    """
    wipe_shared_state()
    whole = measure(run, entry, tier, first.seed, stage="confirm", stored_as=lambda _: REPEAT, full_audit=False)
    if whole.artifact_sha256 != first.artifact_sha256:
        raise TrainsOtherwise


def require_same_checkpoint(run: Run, entry: Entry, incumbent: Row, tier: Tier, seed: int) -> None:
    """Compare what both sides' training left on a fresh seed: only equal weights have the small noise.

    One seed shows nothing of the next: a change may touch training for some seeds alone. Raises TrainsOtherwise.
    """
    paths = [checkpoints_of(run, number, tier).get(seed) for number in (entry.number, incumbent.number)]
    if None in paths or len({path.read_bytes() for path in paths if path}) != 1:
        raise TrainsOtherwise


def require_repeatable(run: Run, entry: Entry, first: Measurement, tier: Tier, noise: Noise) -> None:
    """Run a search seed a second time, after wiping everything that jobs share, and require the same result.

    A candidate that read something left behind by another job cannot read it again. On a CPU, equal seeds give equal
    bytes. A GPU adds in any order, and how far that moves a score has not been measured: the limit is SAME_SEED_SDS
    standard deviations of the difference between two seeds, which is more. The second measurement is stored under the
    tier REPEAT, where it is no evidence, and needs no budget: the first one was within it.

    Raises:
        Refused: The artifact differs (on a CPU), or the score moved by more than the limit.
    """
    wipe_shared_state()
    unlimited = replace(entry, budget=UNLIMITED)
    second = measure(run, unlimited, tier, first.seed, stage="confirm", stored_as=lambda _: REPEAT, full_audit=False)
    moved, same = abs(second.val_bpb - first.val_bpb), second.artifact_sha256 == first.artifact_sha256
    if not same and run.machine.gpus == 0:
        problem = "got a different artifact from the same seed, expected the same bytes"
    elif not moved <= (limit := tier.systematic_bound_bpb if same else SAME_SEED_SDS * noise.difference_sd):
        problem = f"got a score that moved by {moved:.4f} bpb, expected at most {limit:.4f}"
    else:
        return
    raise Refused(
        State.DISHONEST, f"{problem}, after everything that jobs share was wiped: it reads what another job left behind"
    )


def rotate(seeds: list[int], number: int) -> list[int]:
    """Start each trial with a different seed, so that one unlucky seed of the incumbent does not favor every trial."""
    start = number % len(seeds)
    return seeds[start:] + seeds[:start]


def explain(evidence: Evidence, noise: Noise, rule: Rule, net_lines: int, handicap: float, simplifies: bool) -> str:
    """Return the judge's reason on one line: the differences, their p-values, and the thresholds they had to meet."""
    if not any(differences := [*evidence.search, *evidence.fresh]):
        removed_knob = "; a knob was removed with them: keep techniques that are switched off"
        suffix = removed_knob if net_lines < 0 and not simplifies else ""
        return f"no loss changed on {len(differences)} seeds, {net_lines:+d} lines of code{suffix}"
    parts = []
    for name, values, threshold in (
        ("search", evidence.search, rule.keep_p),
        ("fresh seeds", evidence.fresh, rule.confirm_p),
    ):
        if values:
            chance = noise.p_value(fmean(values) + handicap, len(values))
            parts.append(f"{name} {fmean(values):+.4f} bpb on {len(values)} (p {chance:.3f}, needs {threshold:g})")
    if handicap > 0:
        parts.append(f"{net_lines} more lines of code cost {handicap:.4f}")
    if handicap < 0:
        parts.append(f"{-net_lines} fewer lines of code may cost up to {-handicap:.4f}")
    return "; ".join([*parts, f"noise {noise.difference_sd:.4f} per pair"])

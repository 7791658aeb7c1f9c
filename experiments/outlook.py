"""What a night can show and what it costs: the noise floor, the smallest gain it finds, minutes and dollars a trial."""

from collections.abc import Iterator
from itertools import pairwise
from statistics import median

from scipy.stats import spearmanr

from data.state import State
from experiments import disowned
from experiments.calls import Calls
from experiments.judge import POWER
from experiments.ledger import Ledger
from experiments.replicates import differences, generation, noise_floor
from experiments.tiers import Profile
from preflight.text import one_line

LATER = ("promote", "rerun")  # asked for when the trial had ended
LEAST_PAIRS = 5  # trials with both tiers' differences, before a correlation is worth a line


def outlook(ledger: Ledger, profile: Profile) -> Iterator[str]:
    """The lines that `status` shows below the table."""
    tier, noise = profile.tier, noise_floor(ledger, profile.tier)
    replicates, incumbent = noise.degrees - tier.expected_noise.degrees, ledger.incumbent()
    known = len(generation(ledger, incumbent, tier)) if incumbent else 0
    seeds = min(tier.rule.seeds, known or tier.rule.seeds)
    yield (
        f"noise floor: equal trees differ by {noise.difference_sd:.4f} bpb (sd, {replicates:.0f} degrees of freedom "
        f"measured); {seeds} seeds show a true gain of {tier.rule.detectable(noise, seeds):.4f} {POWER:.0%} of the time"
    )
    minutes = [sum(main_stages(ledger, row.number).values()) / 60 for row in ledger.rows() if row.state.judged]
    if minutes:
        dollars = median(minutes) / 60 * profile.dollars_per_hour
        yield f"a measured trial takes {median(minutes):.1f} minutes and ${dollars:.2f} (median of {len(minutes)})"
    yield from model_bill(ledger)
    yield from ended_later(ledger)
    for lower, upper in pairwise(filter(None, (profile.proxy, tier, profile.record))):
        for kind, count, correlation in correlations(ledger, lower.name, upper.name):
            tiers = f"{lower.name} with {upper.name}"
            yield f"rank correlation of {tiers}, {kind}: {correlation:+.2f} ({count} trials)"


def ended_later(ledger: Ledger) -> Iterator[str]:
    """Incumbents that ended as dishonest, and how many trials that leaves without a verdict."""
    rows = ledger.rows()
    for commit, (number, reason) in disowned.read(ledger.connection).items():
        count = sum(row.parent == commit and row.state is State.UNJUDGED for row in rows)
        told = f"trial {number:04d} was kept and ended as dishonest, {reason}"
        yield one_line(f"{told}; {count} trials that were held against it are unjudged", 600)


def model_bill(ledger: Ledger) -> Iterator[str]:
    """What proposals have cost so far, if a model made any."""
    made = Calls(ledger).rows()
    prompt = sum(call.prompt_tokens for call in made)
    if made:
        dollars, proposals = Calls(ledger).spent_dollars(), len({call.trial for call in made})
        read = sum(call.read_tokens for call in made) / prompt if prompt else 0.0
        yield (
            f"model calls: {len(made)} for {proposals} proposals, ${dollars:.2f} (${dollars / proposals:.3f} each, "
            f"list price), {read:.0%} of the prompt tokens from the cache; `calls` has the tables"
        )


def main_stages(ledger: Ledger, number: int) -> dict[str, float]:
    """Seconds by stage of the trial itself: parts of a stage (`preflight: smoke`) are in it, later looks are not."""
    return {name: seconds for name, seconds in ledger.stages(number).items() if ":" not in name and name not in LATER}


def correlations(ledger: Ledger, lower: str, upper: str) -> Iterator[tuple[str, int, float]]:
    """(class, trials, Spearman's rho) of two tiers' differences, all classes first: is the cheap tier any good?

    Only what passed the lower tier has both, but for its controls: a low value is worse news than a high one is good.
    """
    pairs: dict[str, list[tuple[float, float]]] = {"all": []}
    for row in ledger.rows():
        both = [differences(ledger, row, tier, fresh=False) for tier in (lower, upper)]
        if all(both):
            pair = (both[0][0], both[1][0])
            pairs["all"].append(pair)
            pairs.setdefault(row.kind, []).append(pair)
    for kind, found in pairs.items():
        told_apart = all(len(set(side)) > 1 for side in zip(*found, strict=True))  # equals have no ranks
        if len(found) >= LEAST_PAIRS and told_apart:
            yield kind, len(found), float(spearmanr(*zip(*found, strict=True)).statistic)

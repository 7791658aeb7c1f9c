"""Summarize a run: its noise floor, the smallest gain that it can detect, and the minutes and dollars of a trial."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import correlation, median

from common.state import State
from common.text import one_line
from experiments.analysis.pairing import differences, noise_floor, reference_seeds
from experiments.costs.llm_calls import Calls
from experiments.judge.noise import POWER
from experiments.ledger.amendments import Amendments
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.tiers import Profile

LATER_STAGES = ("promote", "rerun", "seeds")  # stages that are requested after the trial has ended
MIN_PAIRS = 5  # trials measured at both tiers, for a correlation to be worth a line


def status_lines(ledger: Ledger, profile: Profile) -> Iterator[str]:
    """Yield the lines that `status` shows below the table."""
    tier, noise = profile.tier, noise_floor(ledger, profile.tier)
    replicates, incumbent = noise.degrees - tier.expected_noise.degrees, ledger.incumbent()
    available = len(reference_seeds(ledger, incumbent, tier)) if incumbent else 0
    seeds = min(tier.rule.seeds, available or tier.rule.seeds)
    gain = tier.rule.detectable(noise, seeds)
    yield (
        f"noise floor: two runs of identical code differ by {noise.difference_sd:.4f} bpb (sd, {replicates:.0f} "
        f"degrees of freedom measured); with {seeds} seeds a true gain of {gain:.4f} bpb passes the first test "
        f"{POWER:.0%} of the time"
    )
    minutes = [sum(main_stages(ledger, row.number).values()) / 60 for row in ledger.rows() if row.state.judged]
    if minutes:
        dollars = median(minutes) / 60 * profile.dollars_per_hour
        yield f"a measured trial takes {median(minutes):.1f} minutes and ${dollars:.2f} (median of {len(minutes)})"
    yield from model_cost_lines(ledger)
    yield from disowned_lines(ledger)
    for lower, upper in pairwise(filter(None, (profile.proxy, tier, profile.record))):
        for kind, count, rho in correlations(ledger, lower.name, upper.name):
            tiers = f"{lower.name} with {upper.name}"
            yield f"rank correlation of {tiers}, {kind}: {rho:+.2f} ({count} trials)"


def disowned_lines(ledger: Ledger) -> Iterator[str]:
    """Yield a line for each incumbent that ended as dishonest, with the number of trials that it leaves unjudged."""
    rows = ledger.rows()
    for commit, (number, reason) in Amendments.read(ledger.connection).disowned.items():
        count = sum(row.parent == commit and row.state is State.UNJUDGED for row in rows)
        line = f"trial {number:04d} was kept and ended as dishonest, {reason}"
        yield one_line(f"{line}; {count} trials that were judged against it are unjudged", 600)


def model_cost_lines(ledger: Ledger) -> Iterator[str]:
    """Yield a line on what proposals have cost so far, if a model wrote any."""
    calls = Calls(ledger).rows()
    prompt = sum(call.prompt_tokens for call in calls)
    if calls:
        dollars, proposals = Calls(ledger).spent_dollars(), len({call.trial for call in calls})
        cached = sum(call.read_tokens for call in calls) / prompt if prompt else 0.0
        yield (
            f"model calls: {len(calls)} for {proposals} proposals, ${dollars:.2f} (${dollars / proposals:.3f} each, "
            f"list price), {cached:.0%} of the prompt tokens from the cache; `calls` has the tables"
        )


def main_stages(ledger: Ledger, number: int) -> dict[str, float]:
    """Return the seconds of a trial's own stages, without parts of a stage (`preflight: smoke`) and later ones."""
    return {
        name: seconds for name, seconds in ledger.stages(number).items() if ":" not in name and name not in LATER_STAGES
    }


def correlations(ledger: Ledger, lower: str, upper: str) -> Iterator[tuple[str, int, float]]:
    """Yield (class, trials, Spearman's rho) of two tiers' differences, all classes first, to judge the cheap tier by.

    But for the controls, only trials that passed the lower tier were measured at both: a low value is worse news than a
    high value is good news.
    """
    pairs: dict[str, list[tuple[float, float]]] = {"all": []}
    both = ledger.measured_at(lower) & ledger.measured_at(upper)
    for row in filter(lambda row: row.number in both, ledger.rows()):
        by_tier = [differences(ledger, row, tier, fresh=False) for tier in (lower, upper)]
        if all(by_tier):
            pair = (by_tier[0][0], by_tier[1][0])
            pairs["all"].append(pair)
            pairs.setdefault(row.kind, []).append(pair)
    for kind, of_kind in pairs.items():
        varied = all(len(set(values)) > 1 for values in zip(*of_kind, strict=True))  # equal values have no ranks
        if len(of_kind) >= MIN_PAIRS and varied:
            yield kind, len(of_kind), correlation(*map(ranks, zip(*of_kind, strict=True)))


def summary_sentence(rows: list[Row]) -> str:
    """Summarize trials: `12 trials: 2 kept, 9 discarded, 1 crash; the baseline 1.9354 bpb`."""
    counts = Counter(str(row.state) for row in rows if row.state is not State.BASELINE and row.state.finished)
    text = f"{counts.total()} trial{'s' * (counts.total() != 1)}" + (": " if counts else "")
    text += ", ".join(f"{count} {state}" for state, count in counts.most_common())
    baseline, best = next((row for row in rows if row.state is State.BASELINE), None), latest_incumbent(rows)
    if baseline and best and baseline.val_bpb is not None:
        text += f"; the baseline has {baseline.val_bpb:.4f} bpb"
        text += f", trial {best.number:04d} is the incumbent" if best is not baseline else ""
    running = [row for row in rows if not row.state.finished]
    text += f"; trial {running[-1].number:04d} is at {running[-1].state}" if running else ""
    return text


def latest_incumbent(rows: list[Row]) -> Row | None:
    """Return the newest kept trial, or the baseline."""
    return next((row for row in reversed(rows) if row.state.is_kept), None)


def rerun_command(run: str, number: int, seed: int) -> str:
    """Return the shell command that measures a trial once more with one seed, in the sandbox like every measurement."""
    return f".venv/bin/python -m experiments rerun {number} --run {run} --seed {seed}"


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value; equal values share their mean rank. Importing scipy.stats would take a second."""
    order = sorted(values)
    return [(bisect_left(order, value) + bisect_right(order, value) + 1) / 2 for value in values]

"""What a submission claims against what its logs print: each seed's score, their mean, and the p-value once more."""

import re
from collections.abc import Callable, Mapping
from statistics import fmean

from data.errors import CaddieError
from preflight.logs import Log
from preflight.significance import welch
from preflight.submission import NOT_SAID, Statistics, Submission
from preflight.text import one_line

Complain = Callable[[str, str, str, str], None]
P_TOLERANCE = 0.02  # relative; published p-values have two or three digits
NAMED_SEED = re.compile(r"seed_?(\d+)|train_?(\d+)\.")


def check_claims(claim: Submission, logs: Mapping[str, Log], complain: Complain, notes: list[str]) -> dict[str, Log]:
    """Every claimed number against a log; returns the logs that the claims come from."""
    for name, log in logs.items():
        named = seed_in(name)
        if named is not None and log.seed is not None and named != log.seed:
            complain("seeds", name, f"seed {log.seed} in the log", f"{named}, as the file is called")
    scored = {name: log for name, log in logs.items() if log.final}
    found = _seeds(claim, scored, complain, notes) if claim.seed_results else _whole(claim, scored, complain)
    if claim.statistics:
        _p_value(claim, claim.statistics, complain)
    elif claim.model_extra and "p_value" in claim.model_extra:
        told = one_line(str(claim.model_extra["p_value"]), 40)
        notes.append(f"submission.json: p_value {told} cannot be tested again: what it was held against is not there")
    return found


def _seeds(claim: Submission, logs: Mapping[str, Log], complain: Complain, notes: list[str]) -> dict[str, Log]:
    found: dict[str, Log] = {}
    results = claim.seed_results or {}
    for text, result in results.items():
        seed = int(text) if text.isdigit() else None
        its = {name: log for name, log in logs.items() if seed is not None and seed in (log.seed, seed_in(name))}
        its = {name: log for name, log in its.items() if seed_in(name) in (None, seed)} or its
        if not its:
            complain("seeds", "submission.json", f"seed {one_line(text, 30)} without a log", "a log of every seed")
            continue
        name = min(its, key=lambda name: abs(_score(its[name]) - result.val_bpb))
        if agrees(_score(its[name]), result.val_bpb):
            found[name] = its[name]
        elif any(agrees(one.val_bpb, result.val_bpb) for one in its[name].finals):
            found[name] = its[name]
            notes.append(f"{name}: seed {seed} claims a score that is printed, {result.val_bpb}, but not the last one")
        else:
            got = f"val_bpb {result.val_bpb} of seed {seed}"
            complain("numbers", "submission.json", got, f"{_score(its[name])}, as {name} ends")
        trained = [other for other, log in its.items() if log.stop_step]
        if name in found and not its[name].stop_step and trained:
            got = f"val_bpb {result.val_bpb} of seed {seed} from {name}, which trained nothing"
            complain("numbers", "submission.json", got, f"{_score(its[trained[0]])}, as {trained[0]} ends")
            found[trained[0]] = its[trained[0]]
        if result.artifact_bytes and its[name].total_bytes not in (None, result.artifact_bytes):
            got = f"artifact_bytes {result.artifact_bytes:,} of seed {seed}"
            complain("bytes", "submission.json", got, f"{its[name].total_bytes:,}, as {name} says")
    mean = fmean(result.val_bpb for result in results.values())
    if claim.val_bpb != NOT_SAID and abs(claim.val_bpb - mean) > 0.6 * 10.0 ** -min(digits(claim.val_bpb), 5):
        complain("numbers", "submission.json", f"val_bpb {claim.val_bpb}", f"{mean:.8f}, the mean of its seeds")
    return found


def _whole(claim: Submission, logs: Mapping[str, Log], complain: Complain) -> dict[str, Log]:
    """A claim without seeds: one log's score, or the mean of all."""
    if claim.val_bpb == NOT_SAID or not logs:
        return {}
    one = {name: log for name, log in logs.items() if agrees(_score(log), claim.val_bpb)}
    if one:
        return one
    mean = fmean(_score(log) for log in logs.values())
    if not agrees(mean, claim.val_bpb):
        told = ", ".join(f"{_score(log)}" for log in logs.values())
        complain("numbers", "submission.json", f"val_bpb {claim.val_bpb}", f"a log's score ({told}) or their mean")
    return dict(logs)


def _p_value(claim: Submission, told: Statistics, complain: Complain) -> None:
    try:
        seeds = [result.val_bpb for result in (claim.seed_results or {}).values()]
        reference = told.reference_val_bpb if len(told.reference_val_bpb) > 1 else told.reference_val_bpb[0]
        found = welch(seeds, reference, told.margin_bpb).p_value
    except CaddieError as error:
        complain("p_value", "submission.json", str(error), "seeds enough for a test")
        return
    if abs(found - told.p_value) > P_TOLERANCE * max(found, told.p_value):
        complain("p_value", "submission.json", f"p {told.p_value:.3g}", f"{found:.3g} by Welch's one-sided test")


def seed_in(name: str) -> int | None:
    """The seed that a log is called by."""
    found = NAMED_SEED.search(name.rsplit("/", 1)[-1])
    return int(found[1] or found[2]) if found else None


def agrees(one: float, other: float) -> bool:
    """Equal as far as both are written."""
    return abs(one - other) <= 0.51 * 10.0 ** -min(digits(one), digits(other))


def digits(value: float) -> int:
    """Decimals of a number as it is written; trailing zeros are lost, and nobody writes fewer than four."""
    return max(len(repr(value).partition(".")[2]), 4)


def _score(log: Log) -> float:
    return log.final.val_bpb if log.final else float("inf")

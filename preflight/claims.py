"""What a submission claims against what its logs print: each seed's score, their mean, and the p-value once more."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean

from data.errors import CaddieError
from preflight.logs import Final, Log
from preflight.significance import welch
from preflight.submission import NOT_SAID, SeedResult, Statistics, Submission
from preflight.text import one_line

Complain = Callable[[str, str, str, str], None]
WHERE = "submission.json"
P_TOLERANCE = 0.02  # relative; published p-values have two or three digits
NAMED_SEED = re.compile(r"seed_?(\d+)|train_?(\d+)\.")


@dataclass(frozen=True)
class Claimed:
    """A log behind a claim, and which of its scores that is; None for a run that trained what another log scored."""

    log: Log
    final: Final | None


class Claims:
    """One submission's claims, checked one after another; `found` are the logs they come from."""

    def __init__(self, claim: Submission, logs: Mapping[str, Log], complain: Complain, notes: list[str]) -> None:
        self.claim, self.complain, self.notes = claim, complain, notes
        self.all = dict(logs)
        self.logs = {name: log for name, log in logs.items() if log.final}
        self.found: dict[str, Claimed] = {}

    def check(self) -> dict[str, Claimed]:
        for name, log in self.all.items():
            named = seed_in(name)
            if named is not None and log.seed is not None and named != log.seed:
                self.complain("seeds", name, f"seed {log.seed} in the log", f"{named}, as the file is called")
        if self.claim.seed_results:
            for text, result in self.claim.seed_results.items():
                self._seed(text, result)
            self._mean([result.val_bpb for result in self.claim.seed_results.values()])
            self._left_out()
        elif self.claim.val_bpb != NOT_SAID and self.logs:
            self._whole()
        self._nats()
        if self.claim.statistics:
            self._p_value(self.claim.statistics)
        elif self.claim.model_extra and "p_value" in self.claim.model_extra:
            told = one_line(str(self.claim.model_extra["p_value"]), 40)
            self.notes.append(f"{WHERE}: p_value {told} cannot be tested again: what it was held against is not there")
        return self.found

    def _seed(self, text: str, result: SeedResult) -> None:
        """One seed's numbers in the log of that seed."""
        seed = int(text) if re.fullmatch(r"0|[1-9]\d{0,18}", text, flags=re.ASCII) else None
        its = {name: log for name, log in self.logs.items() if seed is not None and seed in (log.seed, seed_in(name))}
        its = {name: log for name, log in its.items() if seed_in(name) in (None, seed)} or its
        others = {name: log for name, log in self.logs.items() if agrees(score(log), result.val_bpb)}
        if its and not any(claimed_score(log, result.val_bpb) for log in its.values()) and others:
            name = next(iter(others))
            told = f"seed {seed} with the score of {name}, which says seed {others[name].seed}"
            self.complain("seeds", WHERE, told, f"{score(next(iter(its.values())))}, as {next(iter(its))} ends")
            its = {name: others[name]}
        if not its:
            self.complain("seeds", WHERE, f"seed {one_line(text, 30)} without a log", "a log of every seed")
            return
        name = min(its, key=lambda name: abs(score(its[name]) - result.val_bpb))
        log, final = its[name], claimed_score(its[name], result.val_bpb)
        if final is None:
            self.complain("numbers", WHERE, f"val_bpb {result.val_bpb} of seed {seed}", f"{score(log)}, as {name} ends")
            return
        if name in self.found:
            self.complain("seeds", WHERE, f"seed {one_line(text, 30)} from {name}", "another log for every seed")
        self.found[name] = Claimed(log, final)
        if final is not log.final and not agrees(score(log), result.val_bpb):
            self.notes.append(f"{name}: seed {seed} claims a score that is printed, {result.val_bpb}, but not the last")
        self._trained(f"val_bpb {result.val_bpb} of seed {seed}", name, its)
        run = next((one for one in its.values() if one.stop_step), log)
        for rule, what, claimed, logged in (
            ("bytes", "artifact_bytes", result.artifact_bytes, log.total_bytes),
            ("numbers", "steps", result.steps, run.stop_step),
        ):
            if claimed and logged and claimed != logged:
                self.complain(rule, WHERE, f"{what} {claimed:,} of seed {seed}", f"{logged:,}, as {name} says")
        if result.val_loss and not agrees(result.val_loss, final.val_nats):
            self.complain("numbers", WHERE, f"val_loss {result.val_loss} of seed {seed}", f"{final.val_nats} of {name}")

    def _trained(self, got: str, name: str, its: Mapping[str, Log]) -> None:
        """A score from a log that trained nothing, where another log of that seed did and ends otherwise."""
        trained = [other for other, log in its.items() if log.stop_step]
        if not its[name].stop_step and trained:
            other = trained[0]
            self.complain(
                "numbers", WHERE, f"{got} from {name}, which trained nothing", f"{score(its[other])} of {other}"
            )
            self.found[other] = Claimed(its[other], None)

    def _mean(self, values: list[float]) -> None:
        mean, told = fmean(values), self.claim.val_bpb
        if told != NOT_SAID and abs(told - mean) > 0.6 * 10.0 ** -min(digits(told), 5):
            self.complain("numbers", WHERE, f"val_bpb {told}", f"{mean:.8f}, the mean of its seeds")

    def _left_out(self) -> None:
        """Runs of the same code that are better or worse than the claimed ones, and not among them."""
        sizes = {one.log.code_bytes for one in self.found.values()}
        others = [name for name, log in self.logs.items() if name not in self.found and log.code_bytes in sizes]
        if others:
            shown = ", ".join(f"{name} {score(self.logs[name]):g}" for name in others[:8])
            self.notes.append(f"{WHERE}: {len(others)} more logs of the same code are not claimed: {shown}")

    def _whole(self) -> None:
        """A claim without seeds: one log's score, or the mean of all."""
        told = self.claim.val_bpb
        listed = self.claim.seeds if isinstance(self.claim.seeds, list) else []
        known = {seed for name, log in self.logs.items() for seed in (log.seed, seed_in(name))}
        for seed in [seed for seed in listed if seed not in known]:
            self.complain("seeds", WHERE, f"seed {seed} without a log", "a log of every seed")
        one = {name: final for name, log in self.logs.items() if (final := claimed_score(log, told))}
        mean = fmean(score(log) for log in self.logs.values())
        if one:
            self.found = {name: Claimed(self.logs[name], final) for name, final in one.items()}
            if len(self.logs) > 1 and told == min(told, *map(score, self.logs.values())) and not agrees(told, mean):
                self.notes.append(
                    f"{WHERE}: val_bpb {told} is the best of {len(self.logs)} logs, their mean {mean:.5f}"
                )
            return
        self.found = {name: Claimed(log, log.final) for name, log in self.logs.items()}
        if not agrees(mean, told):
            shown = ", ".join(f"{score(log)}" for log in self.logs.values())
            self.complain("numbers", WHERE, f"val_bpb {told}", f"a log's score ({shown}) or their mean")

    def _nats(self) -> None:
        """The claimed loss in nats is one log's, or their mean."""
        nats = [one.final.val_nats for one in (self.found or self._scored()).values() if one.final]
        told = self.claim.val_loss
        if told and nats and not any(agrees(told, value) for value in [*nats, round(fmean(nats), 6)]):
            self.complain("numbers", WHERE, f"val_loss {told}", f"{fmean(nats):.6g} nats per token, as the logs say")

    def _scored(self) -> dict[str, Claimed]:
        return {name: Claimed(log, log.final) for name, log in self.logs.items()}

    def _p_value(self, told: Statistics) -> None:
        try:
            seeds = [one.final.val_bpb for one in self.found.values() if one.final]
            reference = told.reference_val_bpb if len(told.reference_val_bpb) > 1 else told.reference_val_bpb[0]
            found = welch(seeds, reference, told.margin_bpb).p_value
        except CaddieError as error:
            self.complain("p_value", WHERE, str(error), "seeds enough for a test")
            return
        if abs(found - told.p_value) > P_TOLERANCE * max(found, told.p_value):
            self.complain("p_value", WHERE, f"p {told.p_value:.3g}", f"{found:.3g} by Welch's one-sided test")


def claimed_score(log: Log, val_bpb: float) -> Final | None:
    """The last of a log's scores that is the claimed one."""
    return next((one for one in reversed(log.finals) if agrees(one.val_bpb, val_bpb)), None)


def score(log: Log) -> float:
    return log.final.val_bpb if log.final else float("inf")


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

"""Checks of a submission's claims against its logs: each seed's score, the mean, the loss in nats, and the p-value."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean

from common.errors import CaddieError
from common.text import one_line
from preflight.records.logs import Final, Log
from preflight.records.significance import welch
from preflight.records.submission import MISSING_BPB, SeedResult, Statistics, Submission

Complain = Callable[[str, str, str, str], None]
WHERE = "submission.json"
P_TOLERANCE = 0.02  # relative; published p-values have two or three digits
NAMED_SEED = re.compile(r"seed_?(\d+)|train_?(\d+)\.")


@dataclass(frozen=True)
class Claimed:
    """A log that a claim rests on, and the score claimed; None for a run whose weights another log scored."""

    log: Log
    final: Final | None


class Claims:
    """The claims of one submission; `claimed` collects the logs that they rest on.

    Args:
        claim: The submission.
        logs: All logs of the folder by name.
        complain: Receives (rule, file, got, expected) of every claim that does not hold.
        notes: Receives remarks that are not complaints.
    """

    def __init__(self, claim: Submission, logs: Mapping[str, Log], complain: Complain, notes: list[str]) -> None:
        self.claim, self.complain, self.notes = claim, complain, notes
        self.all_logs = dict(logs)
        self.logs = {name: log for name, log in logs.items() if log.final}
        self.claimed: dict[str, Claimed] = {}

    def check(self) -> dict[str, Claimed]:
        """Check every claim and return the logs that they rest on, by name."""
        for name, log in self.all_logs.items():
            named = seed_from_name(name)
            if named is not None and log.seed is not None and named != log.seed:
                self.complain("seeds", name, f"seed {log.seed} in the log", f"{named}, as in the file's name")
        if self.claim.seed_results:
            for text, result in self.claim.seed_results.items():
                self._check_seed(text, result)
            self._check_mean([result.val_bpb for result in self.claim.seed_results.values()])
            self._note_unclaimed_runs()
        elif self.claim.val_bpb != MISSING_BPB and self.logs:
            self._check_without_seeds()
        self._check_nats()
        if self.claim.statistics:
            self._check_p_value(self.claim.statistics)
        elif self.claim.model_extra and "p_value" in self.claim.model_extra:
            p_value = one_line(str(self.claim.model_extra["p_value"]), 40)
            self.notes.append(f"{WHERE}: p_value {p_value} cannot be recomputed: its reference is not in the file")
        return self.claimed

    def _check_seed(self, text: str, result: SeedResult) -> None:
        """Compare one seed's numbers with the log of that seed."""
        seed = int(text) if re.fullmatch(r"0|[1-9]\d{0,18}", text, flags=re.ASCII) else None
        logs = self._logs_of_seed(seed, result)
        if not logs:
            self.complain("seeds", WHERE, f"seed {one_line(text, 30)} without a log", "a log of every seed")
            return
        name = min(logs, key=lambda name: abs(score(logs[name]) - result.val_bpb))
        log, final = logs[name], claimed_score(logs[name], result.val_bpb)
        if final is None:
            self.complain("numbers", WHERE, f"val_bpb {result.val_bpb} of seed {seed}", f"{score(log)}, as {name} ends")
            return
        if name in self.claimed:
            self.complain("seeds", WHERE, f"seed {one_line(text, 30)} from {name}", "another log for every seed")
        self.claimed[name] = Claimed(log, final)
        if final is not log.final and not agrees(score(log), result.val_bpb):
            self.notes.append(f"{name}: seed {seed} claims a score that is printed, {result.val_bpb}, but not the last")
        self._check_trained(f"val_bpb {result.val_bpb} of seed {seed}", name, logs)
        trained = next((log for log in logs.values() if log.stop_step), log)
        for rule, what, claimed, logged in (
            ("bytes", "artifact_bytes", result.artifact_bytes, log.total_bytes),
            ("numbers", "steps", result.steps, trained.stop_step),
        ):
            if claimed and logged and claimed != logged:
                self.complain(rule, WHERE, f"{what} {claimed:,} of seed {seed}", f"{logged:,}, as {name} says")
        if result.val_loss and not agrees(result.val_loss, final.val_nats):
            self.complain("numbers", WHERE, f"val_loss {result.val_loss} of seed {seed}", f"{final.val_nats} of {name}")

    def _logs_of_seed(self, seed: int | None, result: SeedResult) -> dict[str, Log]:
        """Return the logs of a seed; if only another seed's log has the claimed score, complain and return that one."""
        own = {
            name: log
            for name, log in self.logs.items()
            if seed is not None and seed in (log.seed, seed_from_name(name))
        }
        own = {name: log for name, log in own.items() if seed_from_name(name) in (None, seed)} or own
        same_score = {name: log for name, log in self.logs.items() if agrees(score(log), result.val_bpb)}
        if own and not any(claimed_score(log, result.val_bpb) for log in own.values()) and same_score:
            name, first = next(iter(same_score)), next(iter(own))
            got = f"seed {seed} with the score of {name}, which says seed {same_score[name].seed}"
            self.complain("seeds", WHERE, got, f"{score(own[first])}, as {first} ends")
            return {name: same_score[name]}
        return own

    def _check_trained(self, got: str, name: str, logs: Mapping[str, Log]) -> None:
        """Complain about a score from a log without training if another log of the seed trained and ends otherwise."""
        trained = [other for other, log in logs.items() if log.stop_step]
        if not logs[name].stop_step and trained:
            other = trained[0]
            expected = f"{score(logs[other])} of {other}"
            self.complain("numbers", WHERE, f"{got} from {name}, which trained nothing", expected)
            self.claimed[other] = Claimed(logs[other], None)

    def _check_mean(self, values: list[float]) -> None:
        mean, val_bpb = fmean(values), self.claim.val_bpb
        if val_bpb != MISSING_BPB and abs(val_bpb - mean) > 0.6 * 10.0 ** -min(decimals(val_bpb), 5):
            self.complain("numbers", WHERE, f"val_bpb {val_bpb}", f"{mean:.8f}, the mean of its seeds")

    def _note_unclaimed_runs(self) -> None:
        """Note runs of the same code, better or worse, that the submission does not claim."""
        sizes = {run.log.code_bytes for run in self.claimed.values()}
        unclaimed = [name for name, log in self.logs.items() if name not in self.claimed and log.code_bytes in sizes]
        if unclaimed:
            listed = ", ".join(f"{name} {score(self.logs[name]):g}" for name in unclaimed[:8])
            self.notes.append(f"{WHERE}: {len(unclaimed)} more logs of the same code are not claimed: {listed}")

    def _check_without_seeds(self) -> None:
        """Check a claim without seed results: it must be one log's score, or the mean of all."""
        val_bpb = self.claim.val_bpb
        listed = self.claim.seeds if isinstance(self.claim.seeds, list) else []
        logged = {seed for name, log in self.logs.items() for seed in (log.seed, seed_from_name(name))}
        for seed in [seed for seed in listed if seed not in logged]:
            self.complain("seeds", WHERE, f"seed {seed} without a log", "a log of every seed")
        matching = {name: final for name, log in self.logs.items() if (final := claimed_score(log, val_bpb))}
        scores = [score(log) for log in self.logs.values()]
        mean, count = fmean(scores), len(scores)
        if matching:
            self.claimed = {name: Claimed(self.logs[name], final) for name, final in matching.items()}
            if count > 1 and val_bpb == min(val_bpb, *scores) and not agrees(val_bpb, mean):
                self.notes.append(f"{WHERE}: val_bpb {val_bpb} is the best of {count} logs, their mean {mean:.5f}")
            return
        self.claimed = self._final_scores()
        if not agrees(mean, val_bpb):
            listed_scores = ", ".join(map(str, scores))
            self.complain("numbers", WHERE, f"val_bpb {val_bpb}", f"a log's score ({listed_scores}) or their mean")

    def _check_nats(self) -> None:
        """Check that the claimed loss in nats is one log's, or their mean."""
        nats = [run.final.val_nats for run in (self.claimed or self._final_scores()).values() if run.final]
        val_loss = self.claim.val_loss
        if val_loss and nats and not any(agrees(val_loss, value) for value in [*nats, round(fmean(nats), 6)]):
            expected = f"{fmean(nats):.6g} nats per token, as the logs say"
            self.complain("numbers", WHERE, f"val_loss {val_loss}", expected)

    def _final_scores(self) -> dict[str, Claimed]:
        return {name: Claimed(log, log.final) for name, log in self.logs.items()}

    def _check_p_value(self, claim: Statistics) -> None:
        try:
            seeds = [run.final.val_bpb for run in self.claimed.values() if run.final]
            reference = claim.reference_val_bpb if len(claim.reference_val_bpb) > 1 else claim.reference_val_bpb[0]
            p_value = welch(seeds, reference, claim.margin_bpb).p_value
        except CaddieError as error:
            self.complain("p_value", WHERE, str(error), "enough seeds for a test")
            return
        if abs(p_value - claim.p_value) > P_TOLERANCE * max(p_value, claim.p_value):
            self.complain("p_value", WHERE, f"p {claim.p_value:.3g}", f"{p_value:.3g} by Welch's one-sided test")


def claimed_score(log: Log, val_bpb: float) -> Final | None:
    """Return the last of a log's scores that equals the claimed one."""
    return next((final for final in reversed(log.finals) if agrees(final.val_bpb, val_bpb)), None)


def score(log: Log) -> float:
    """Return the bits per byte that a log ends with; infinity if it has none."""
    return log.final.val_bpb if log.final else float("inf")


def seed_from_name(name: str) -> int | None:
    """Return the seed in a log's file name."""
    match = NAMED_SEED.search(name.rsplit("/", 1)[-1])
    return int(match[1] or match[2]) if match else None


def agrees(one: float, other: float) -> bool:
    """Return True if two numbers are equal to the precision that both are written with."""
    return abs(one - other) <= 0.51 * 10.0 ** -min(decimals(one), decimals(other))


def decimals(value: float) -> int:
    """Return the decimals of a number as written; at least 4, as trailing zeros are lost and scores have no fewer."""
    return max(len(repr(value).partition(".")[2]), 4)

"""The record to beat on each track, and the challenge's two rules on whether new seeds beat it.

records/frontier.json holds the records and is updated by hand. The README's rule is 0.005 nats per token at p < 0.01;
the maintainers' later practice is any lower mean at p < 0.25 (rules.md section 8). The challenge never defined the unit
of the margin: here it is nats per token of the record's tokenizer, converted by the record's own bits per byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from scipy.special import stdtrit

from common.errors import CaddieError
from common.limits import LATER_P_VALUE, RECORD_NATS, RECORD_P_VALUE, RECORD_SEEDS
from common.text import one_line
from preflight.records.significance import Sample, Welch, welch

MAX_SEEDS = 30  # more would hardly be run to show a difference


class Seed(BaseModel):
    """One published run."""

    model_config = ConfigDict(extra="forbid")

    seed: int | None
    val_nats: float = Field(gt=0)  # per token
    val_bpb: float = Field(gt=0)
    artifact_bytes: int = Field(gt=0)


class Record(BaseModel):
    """The best published result on a track."""

    model_config = ConfigDict(extra="forbid")

    title: str
    source: str
    date: str
    tokenizer: str
    seeds: list[Seed] = Field(min_length=1)

    @property
    def val_bpb(self) -> list[float]:
        return [seed.val_bpb for seed in self.seeds]

    @property
    def bpb_per_nat(self) -> float:
        """Bits per byte of one nat per token, for this record's tokenizer on the validation set."""
        return fmean(seed.val_bpb / seed.val_nats for seed in self.seeds)


@dataclass(frozen=True)
class Verdict:
    """The result of one rule, which is met if nothing is missing."""

    rule: str
    margin_bpb: float
    needed_p: float
    test: Welch | None
    missing: list[str]

    def summary(self, missing: Sequence[str] = ()) -> str:
        """Return one line with the margin, the test and the result; `missing` adds to what is missing."""
        test = self.test
        numbers = f"t {test.t:.2f}, df {test.df:.2f}, one-sided p {test.p_value:.2g}" if test else "no test"
        everything = [*self.missing, *missing]
        result = f"not met; missing: {'; '.join(everything)}" if everything else "met"
        return f"{self.rule} (margin {self.margin_bpb:.5f} bpb, p < {self.needed_p}): {numbers}: {result}"


def read_all(path: Path) -> dict[str, Record]:
    """Read the records of all tracks; raises CaddieError."""
    try:
        return TypeAdapter(dict[str, Record]).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise CaddieError(f"{path}: expected records by track, got {one_line(str(error), 200)}") from error


def read(path: Path, track: str) -> Record:
    """Read one track's record; raises CaddieError."""
    records = read_all(path)
    if track not in records:
        raise CaddieError(f"got track {one_line(track, 60)!r}, expected one of {', '.join(records)}")
    return records[track]


def verdicts(val_bpb: Sequence[float], record: Record) -> list[Verdict]:
    """Apply both rules to the bits per byte of new seeds on the validation set."""
    margin = RECORD_NATS * record.bpb_per_nat
    return [
        _verdict(f"challenge README: by {RECORD_NATS} nats per token", val_bpb, record, margin, RECORD_P_VALUE),
        _verdict("later practice: any lower mean", val_bpb, record, 0.0, LATER_P_VALUE),
    ]


def _verdict(rule: str, new: Sequence[float], record: Record, margin: float, needed_p: float) -> Verdict:
    missing = [f"{RECORD_SEEDS - len(new)} more seeds (has {len(new)})"] if len(new) < RECORD_SEEDS else []
    if len(new) < 2:
        return Verdict(rule, margin, needed_p, None, missing)
    reference = record.val_bpb if len(record.seeds) > 1 else record.val_bpb[0]
    test = welch(new, reference, margin)
    if test.p_value >= needed_p:
        missing.append(_gap(new, reference, margin, needed_p, test))
    return Verdict(rule, margin, needed_p, test, missing)


def _gap(new: Sequence[float], reference: Sequence[float] | float, margin: float, needed_p: float, test: Welch) -> str:
    """Say what is missing: how far the mean must fall at this spread, or how many seeds suffice at this mean."""
    fall = (test.t - float(stdtrit(test.df, needed_p))) * test.standard_error
    lower = f"a mean lower by {fall:.5f} bpb at this spread"
    for count in range(len(new) + 1, MAX_SEEDS + 1):
        if welch(Sample(fmean(new), stdev(new), count), reference, margin).p_value < needed_p:
            return f"{lower}, or {count} seeds at this mean"
    return f"{lower}; no number of seeds shows it at this mean"

"""Two trials side by side, of one run or of two runs: the seeds that both were measured on."""

from dataclasses import dataclass

from common.errors import CaddieError
from experiments.ledger.measurement import Measurement
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.run.machine import profile_of
from experiments.tiers import Profile

RERUN = "rerun"  # the ledger's tier for measurements that were taken again, on request


@dataclass(frozen=True)
class Side:
    """A trial, and its measurements at the tier that decides, reruns included, by seed."""

    run: str
    row: Row
    profile: Profile
    measured: dict[int, Measurement]

    @property
    def name(self) -> str:
        return f"{self.run}:{self.row.number:04d}"


def side(run: str, ledger: Ledger, number: int) -> Side:
    """Return one side of a comparison; raises LedgerError if there is no such trial."""
    profile = profile_of(ledger)
    rows = [row for row in ledger.measurement_rows(number) if row.tier in (profile.tier.name, RERUN)]
    return Side(run, ledger.row(number), profile, {row.measured.seed: row.measured for row in rows})


def shared(first: Side, second: Side) -> dict[int, float]:
    """Return second minus first in bits per byte, by seed; equal seeds must have had equal data."""
    both = first.measured.keys() & second.measured.keys()
    same = [seed for seed in both if first.measured[seed].data_seed == second.measured[seed].data_seed]
    return {seed: second.measured[seed].val_bpb - first.measured[seed].val_bpb for seed in sorted(same)}


def missing(first: Side, second: Side) -> list[Measurement]:
    """Return the measurements of the first side that the second lacks, the newest first.

    Raises:
        CaddieError: The sides were measured by different rules, so that no seed makes them comparable.
    """
    if first.profile.tier.target != second.profile.tier.target or first.profile.corpus != second.profile.corpus:
        raise CaddieError(
            f"{first.name} and {second.name} have other profiles or corpora: no seed makes them comparable"
        )
    known = shared(first, second)
    return [measured for seed, measured in reversed(first.measured.items()) if seed not in known]

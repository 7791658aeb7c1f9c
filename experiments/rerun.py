"""A settled trial measured once more: another seed for whoever doubts it, or the same one: then the same file.

A rerun is a note: it stands in the ledger under a tier of its own and in a git note, and decides nothing.
"""

from dataclasses import dataclass, replace

from data.errors import CaddieError
from experiments.baseline import baseline, budget
from experiments.bench import Bench
from experiments.job import Measured
from experiments.measurement import Entry, measure, program_of

TIER = "rerun"


@dataclass(frozen=True)
class Rerun:
    """The new measurement beside the earlier one of the same seed, if there is one."""

    measured: Measured
    earlier: Measured | None

    @property
    def same_artifact(self) -> bool | None:
        """Whether one seed gave one artifact; None for a seed that is new."""
        return None if self.earlier is None else self.earlier.artifact_sha256 == self.measured.artifact_sha256


def rerun(bench: Bench, number: int, seed: int | None) -> Rerun:
    """Measure a trial's bundle with a seed, its first by default; raises Refused, CaddieError where it has none."""
    row = bench.ledger.row(number)
    if not row.commit_id or not row.valued:
        raise CaddieError(f"trial {number} was never measured (its state is {row.state}); `status` lists what was")
    known = {one.measured.seed: one.measured for one in bench.ledger.taken(number) if one.tier == bench.tier.name}
    chosen = next(iter(known)) if seed is None else seed
    tier = replace(bench.tier, name=TIER)
    entry = Entry(number, row.title, program_of(bench, row), budget(bench, baseline(bench)))
    measured = measure(bench, entry, tier, chosen, stage=TIER)
    bench.workspace.note(row.commit_id, f"rerun: seed {chosen}, {measured.val_bpb:.6f} bpb")
    return Rerun(measured, known.get(chosen))

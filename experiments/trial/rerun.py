"""Measure a settled trial once more: with another seed, or with the same one, which must give the same artifact.

A rerun decides nothing: it is recorded in the ledger under a tier of its own, and in a git note.
"""

from dataclasses import dataclass, replace

from common.errors import CaddieError
from experiments.analysis.comparison import RERUN
from experiments.ledger.measurement import Measurement
from experiments.run.run import Run
from experiments.trial.baseline import cpu_budget, measure_baseline
from experiments.trial.measure import Entry, measure, program_path


@dataclass(frozen=True)
class Rerun:
    """A new measurement, and the earlier one with the same seed if there is one."""

    measured: Measurement
    earlier: Measurement | None

    @property
    def same_artifact(self) -> bool | None:
        """True if both measurements of one seed gave the same artifact; None for a new seed."""
        return None if self.earlier is None else self.earlier.artifact_sha256 == self.measured.artifact_sha256


def rerun(run: Run, number: int, seed: int | None, data_seed: int | None = None) -> Rerun:
    """Measure a trial's bundle with a seed, by default the first one that it was measured with.

    Args:
        run: The run.
        number: The trial.
        seed: The training seed.
        data_seed: The data seed; by default the one that this run used with the training seed, else a new one.

    Raises:
        CaddieError: The trial was never measured.
        Refused: The program failed or broke a rule.
    """
    row = run.ledger.row(number)
    if not row.commit_id or not row.has_value:
        raise CaddieError(f"trial {number} was never measured (its state is {row.state}); `status` lists what was")
    rows = [stored for stored in run.ledger.measurement_rows(number) if stored.tier == run.tier.name]
    earlier = {stored.measured.seed: stored.measured for stored in rows}
    chosen = next(iter(earlier), None) if seed is None else seed
    if chosen is None:
        raise CaddieError(f"trial {number} was measured on saved weights alone; choose a seed: --seed")
    tier = replace(run.tier, name=RERUN)
    entry = Entry(number, row.title, program_path(run, row), cpu_budget(run, measure_baseline(run)))
    measured = measure(run, entry, tier, chosen, stage=RERUN, data_seed=data_seed)
    run.workspace.add_note(row.commit_id, f"rerun: seed {chosen}, {measured.val_bpb:.6f} bpb")
    return Rerun(measured, earlier.get(chosen))

"""Sizes that a run has measured, over those of the untrained models: what the next forecast learns from."""

import json
from statistics import fmean

from experiments.ledger.store import Ledger
from preflight.candidate.size import Ratios

PLAUSIBLE = (0.5, 1.25)  # trained over untrained bytes


def size_ratios(ledger: Ledger) -> Ratios:
    """Return trained over untrained bytes of the models that were kept, by kind (preflight/candidate/size.py).

    The untrained size is what a program says of itself, so what was not kept teaches nothing, and nothing far off does.
    """
    ratios: dict[str, list[float]] = {}
    for row in ledger.rows():
        if row.size is None or not row.state.is_kept:
            continue
        forecast = json.loads(row.size)
        trained = [s.measured.model_bytes for s in ledger.measurement_rows(row.number) if s.tier == row.tier]
        ratio = fmean(trained) / max(forecast["untrained_bytes"], 1) if trained else 0.0
        if PLAUSIBLE[0] <= ratio <= PLAUSIBLE[1]:
            ratios.setdefault(forecast["kind"], []).append(ratio)
    return ratios

"""Helpers for tests of whole trials: edits of the tiny base/, and a variant of its profile with a CPU budget."""

import dataclasses
import json

from helpers.tiny_profile import TINY

from experiments.tiers import PROFILES

EVEN_MORE_TEXT = ("base/config.py", '"iterations": 12', '"iterations": 40')  # improves on MORE_TEXT
WORSE = ("base/config.py", '"smoothing": 0.5', '"smoothing": 500.0')

STEPS = 40
MODEL, SCORER = "base/model.py", "base/scorer.py"
LOOP = '    for step in range(knobs["iterations"]):\n'
WORK = "        for _ in range(4):\n            np.sort(draw.random(1 << 20))\n"  # about 50 ms a step
NEUTRAL = (MODEL, "+ 0.1\n", "+ 0.10001\n")  # a change that neither costs steps nor gains much
PACED = dataclasses.replace(
    TINY,
    target=dataclasses.replace(TINY.target, environment={**TINY.target.environment, "ITERATIONS": str(STEPS)}),
    train_cpu_slack=1.2,
    score_cpu_slack=4.0,
    pack_cpu_seconds=20.0,
)
PACED_PROFILE = dataclasses.replace(PROFILES["tiny"], tier=PACED)


def work(times: int) -> tuple[str, str, str]:
    """Return an edit that makes a step do `times` sorts instead of 4."""
    return MODEL, "range(4)", f"range({times})"


def spent(row) -> dict[str, list[float]]:
    """Return (used, limit) of each of a trial's budgets."""
    return json.loads(row.spent)


def search_seeds(run, number):
    """Return the seeds of a trial's search, without those of re-measurements."""
    return [row.measured.seed for row in run.ledger.measurement_rows(number) if row.fresh_for is None]

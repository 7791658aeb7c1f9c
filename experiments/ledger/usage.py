"""A trial's use of each of its budgets: the numbers with their limits, and a description in words."""

import json
from collections.abc import Iterable, Mapping, Sequence

from experiments.ledger.rows import Row

SETUP_BUDGET = "train_setup_cpu_seconds"  # not a limit: seconds beyond it count as training
UNITS = {"_share": "of the budget", "_cpu_seconds": "CPU s", "_wall_seconds": "s", "_seconds": "s", "_bytes": "bytes"}


def closest_to_limit(spent: Iterable[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """Return, for every budget, the (used, limit) that came closest to the limit."""
    closest: dict[str, list[float]] = {}
    for budgets in spent:
        for name, (used, limit) in budgets.items():
            if name not in closest or used * closest[name][1] > closest[name][0] * limit:
                closest[name] = [used, limit]
    return closest


def describe(row: Row) -> list[str]:
    """Return each budget in words, such as `train 30.2 of 36.1 CPU s (84%)`, the most used one first."""
    return [f"{words} ({share:.0%})" for words, share in used_shares(row)]


def used_shares(row: Row) -> list[tuple[str, float]]:
    """Return each budget in words with the share of it that was used, the most used one first."""
    shares = [(_words(name, used, limit), used / (limit or 1.0)) for name, (used, limit) in _read(row).items()]
    return sorted(shares, key=lambda item: -item[1])


def exceeded_limit(row: Row) -> str:
    """Return the limit that ended a trial, such as `score 19.3 of 19.2 CPU s`; empty without one or without numbers."""
    budgets = {name: budget for name, budget in _read(row).items() if name != SETUP_BUDGET}
    over = [_words(name, used, limit) for name, (used, limit) in budgets.items() if used > limit]
    return over[-1] if over and row.state.hit_limit else ""


def _read(row: Row) -> dict[str, tuple[float, float]]:
    return {name: (used, limit) for name, (used, limit) in json.loads(row.spent or "{}").items()}


def _words(name: str, used: float, limit: float) -> str:
    suffix = next((suffix for suffix in UNITS if name.endswith(suffix)), "")
    spec = {"_bytes": ",.0f", "_share": ".0%"}.get(suffix, ".1f")
    label = name.removesuffix(suffix).replace("_", " ")
    return f"{label} {used:{spec}} of {limit:{spec}} {UNITS.get(suffix, '')}".strip()
